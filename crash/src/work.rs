//! The run that things are done to: a peer inside this process, which saves one thing after another
//! and says on standard output how far it has come.
//!
//! Every save writes its number to three nodes, so that half of one would show; some move and
//! remove things, and some are so large that the store cuts them up. A line is written before a save
//! (`asking N`) and after it was acknowledged (`saved N ID`); what is seen in the output had been
//! promised, whatever happens next.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use leveret::{Peer, PeerOptions, Session};

use leveret_sim::chance::Chance;

/// The nodes that every save writes to.
pub(crate) const TRIPLE: [&str; 3] = ["/triple/a", "/triple/b", "/triple/c"];
/// The property that they have the save's number in.
pub(crate) const NUMBER: &str = "number";

/// Exit status if the peer could not be opened.
pub(crate) const REFUSED: i32 = 3;
/// Exit status if it could not save any more.
pub(crate) const GAVE_UP: i32 = 4;

/// Exit status if it did not come to its end in time.
pub(crate) const HUNG: i32 = 5;

/// Longest time that the run takes, with every call slow and the store opened again and again.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Tries of one save. The peer opens a failed store again by itself.
const TRIES_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);
/// Time between checkpoints: short, so that a run of a few saves has some amid the saves.
pub(crate) const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(25);
/// Things that are moved and removed.
const THINGS: u64 = 6;
/// One save in so many has a value of some pages, one in so many fills most of a change set.
const LONG_EVERY: u64 = 6;
const HUGE_EVERY: u64 = 24;

/// Save things into a data directory, as the harness makes other processes do
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Work {
    /// The data directory
    dir: PathBuf,
    /// The number of the first save
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many saves
    #[arg(long, default_value_t = 50)]
    saves: u64,
    /// In how many lives: the peer is closed and opened again in between
    #[arg(long, default_value_t = 2)]
    lives: u64,
    /// What is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Work {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        std::thread::spawn(|| {
            std::thread::sleep(TIME_MAX);
            std::process::exit(HUNG);
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.live())
    }

    async fn live(self) -> anyhow::Result<()> {
        let lives = self.lives.max(1);
        let mut next = self.first;
        for life in 1..=lives {
            let options = options();
            let peer = match Peer::open(&self.dir, options).await {
                Ok(peer) => peer,
                Err(error) => {
                    say(&format!("refused {error}"));
                    std::process::exit(REFUSED);
                }
            };
            say("opened");
            let end = self.first + self.saves * life / lives;
            while next < end {
                self.save(&peer, next).await;
                next += 1;
            }
            say("closing");
            match peer.close().await {
                Ok(()) => say("closed"),
                // What was acknowledged is durable in any case.
                Err(error) => say(&format!("unclosed {error}")),
            }
        }
        Ok(())
    }

    async fn save(&self, peer: &Peer, number: u64) {
        say(&format!("asking {number}"));
        for _ in 0..TRIES_MAX {
            let mut session = peer.session();
            let drafted = draft(&mut session, self.seed, number);
            let failure = match drafted {
                Ok(()) => match session.save().await {
                    Ok(receipt) => {
                        say(&format!("saved {number} {}", receipt.id));
                        return;
                    }
                    Err(error) => error.to_string(),
                },
                // The store may have failed under a read.
                Err(error) => error.to_string(),
            };
            say(&format!("failed {number} {failure}"));
            tokio::time::sleep(PAUSE).await;
        }
        say("gave up");
        std::process::exit(GAVE_UP);
    }
}

/// How the peers of the harness are opened: with a store that is cleaned from the beginning.
pub(crate) fn options() -> PeerOptions {
    PeerOptions::default()
        .cache_bytes(8 << 20)
        .checkpoint_interval(CHECKPOINT_INTERVAL)
        .slack_bytes(0)
}

/// What save `number` does: always the same, on the same tree.
fn draft(session: &mut Session, seed: u64, number: u64) -> Result<(), leveret::SessionError> {
    let mut chance = Chance::new(seed, &format!("save {number}"));
    let value = i64::try_from(number).unwrap_or(i64::MAX);
    if session.node_at(TRIPLE[0])?.is_none() {
        session.add("/triple")?;
        session.add("/things")?;
        session.add("/places")?;
        for path in TRIPLE {
            session.add(path)?;
        }
    }
    for path in TRIPLE {
        session.set(path, NUMBER, value)?;
    }
    let thing = format!("/things/{}", chance.below(THINGS));
    let place = format!("/places/{}", chance.below(THINGS));
    let is = |session: &Session, path: &str| session.node_at(path).map(|node| node.is_some());
    match (is(session, &thing)?, is(session, &place)?) {
        (false, false) => drop(session.add(&thing)?),
        (true, false) => session.move_to(thing.as_str(), &place)?,
        (false, true) => session.move_to(place.as_str(), &thing)?,
        (true, true) => session.remove(thing.as_str())?,
    }
    let bytes = match number {
        number if number % HUGE_EVERY == 0 => 200 << 10,
        number if number % LONG_EVERY == 0 => chance.within(3_000, 20_000),
        _ => chance.within(1, 100),
    };
    let letter = char::from(b'a' + u8::try_from(chance.below(26)).unwrap_or(0));
    let text: String = std::iter::repeat_n(letter, usize::try_from(bytes).unwrap_or(0)).collect();
    session.set("/triple", "text", text.as_str())
}

/// Says a line at once: it is known to whoever reads when this returns.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever listened may be gone; there is nobody else to tell.
    let _ = out.write_all(format!("{line}\n").as_bytes());
    let _ = out.flush();
}
