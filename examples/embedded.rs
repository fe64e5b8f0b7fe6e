//! A peer inside a program: open it on a directory, save, observe, read, close.
//!
//! `cargo run --example embedded`

use leveret::{Event, Peer, PeerOptions, ReadTree as _, TreeFormat};

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    print!("{}", run().await?);
    Ok(())
}

/// Does it all in a temporary directory, and gives the tree at the end as JSON.
pub(crate) async fn run() -> Result<String, Failure> {
    let directory = tempfile::tempdir()?;
    let peer = Peer::open(directory.path(), PeerOptions::default()).await?;
    let mut observer = peer.observe("/")?;

    // A session gathers operations on one state, sees them itself, and saves them whole.
    let mut session = peer.session();
    session.add("/library")?;
    let book = session.add("/library/watership-down")?;
    session.set(book, "title", "Watership Down")?;
    session.set(book, "year", 1972)?;
    session.inc("/library", "books", 1)?;
    session.set_message("the first book")?;
    let receipt = session.save().await?;
    println!("saved {}", receipt.id);

    // One event for each commit, with the net difference and the state after it.
    if let Some(Event::Commit(commit)) = observer.next().await {
        for set in &commit.change_sets {
            let message = set.message.as_deref().unwrap_or_default();
            println!(
                "{} changes by {}: {message}",
                commit.changes.len(),
                set.author
            );
        }
    }

    // A snapshot stays as it is, whatever is saved meanwhile.
    let before = peer.snapshot();
    let mut session = peer.session();
    session.move_to("/library/watership-down", "/library/rabbits")?;
    session.save().await?;
    let after = peer.snapshot();
    println!(
        "{:?} was {:?}",
        after.path_of(book)?.map(|path| path.to_string()),
        before.path_of(book)?.map(|path| path.to_string()),
    );

    let format = TreeFormat {
        pretty: true,
        ..TreeFormat::default()
    };
    let text = format.text(&after, leveret::NodeId::ROOT)?;
    peer.close().await?;
    Ok(text)
}
