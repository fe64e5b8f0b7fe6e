//! stub
#[derive(clap::Args)]
pub(crate) struct Damage {}
impl Damage {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        Ok(())
    }
}
