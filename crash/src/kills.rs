//! stub
#[derive(clap::Args)]
pub(crate) struct Kills {}
impl Kills {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        Ok(())
    }
}
