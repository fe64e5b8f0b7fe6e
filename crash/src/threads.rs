//! Work that is shared out among as many threads as there are processors.

use std::num::NonZero;

use anyhow::bail;

/// Lets each thread do `work`, which takes one piece after the other.
///
/// # Errors
/// The first one of any of them.
pub(crate) fn on_all(work: impl Fn() -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => bail!("a thread panicked"),
            }
        }
        Ok(())
    })
}
