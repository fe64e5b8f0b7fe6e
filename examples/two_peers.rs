//! Two peers in one program: the second joins by a token, both save at the same time, and both
//! end with the same tree.
//!
//! `cargo run --example two_peers`

use std::time::Duration;

use leveret::{NodeId, Peer, PeerOptions, TreeFormat};

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    for (name, tree) in run().await? {
        print!("{name} has {tree}");
    }
    Ok(())
}

/// Does it all in temporary directories, and gives each peer's name and tree at the end.
pub(crate) async fn run() -> Result<[(&'static str, String); 2], Failure> {
    let (north, south) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let options = || PeerOptions::default().listen(([127, 0, 0, 1], 0).into());

    // The first peer founds a cluster. With a token another one can join it.
    let north = Peer::open(north.path(), options().name("north")).await?;
    let token = north.create_token(Duration::from_secs(60)).await?;
    let south = Peer::open(south.path(), options().name("south").join(token)).await?;

    let mut session = north.session();
    session.add("/field")?;
    session.add("/field/warren")?;
    session.set("/field", "hares", 2)?;
    session.save().await?;
    wait_until_equal(&north, &south).await?;

    // Neither knows of the other's save. The counts add up, the move and the edit both hold.
    let (mut here, mut there) = (north.session(), south.session());
    here.inc("/field", "hares", 1)?;
    here.move_to("/field/warren", "/warren")?;
    there.inc("/field", "hares", 5)?;
    there.set("/field/warren", "depth", 3)?;
    let (one, other) = tokio::join!(here.save(), there.save());
    println!("north saved {}, south saved {}", one?.id, other?.id);
    wait_until_equal(&north, &south).await?;

    let tree = |peer: &Peer| TreeFormat::default().text(&peer.snapshot(), NodeId::ROOT);
    let trees = [("north", tree(&north)?), ("south", tree(&south)?)];
    north.close().await?;
    south.close().await?;
    Ok(trees)
}

/// Waits until both have applied the same change sets, and checks that so their states are equal.
async fn wait_until_equal(one: &Peer, other: &Peer) -> Result<(), Failure> {
    let (mut one_moved, mut other_moved) = (one.progress(), other.progress());
    let equal = async {
        while one.snapshot().heads() != other.snapshot().heads() {
            tokio::select! {
                moved = one_moved.changed() => moved?,
                moved = other_moved.changed() => moved?,
            }
        }
        Ok::<_, Failure>(())
    };
    tokio::time::timeout(Duration::from_secs(30), equal).await??;
    assert_eq!(one.snapshot().digest(), other.snapshot().digest());
    Ok(())
}
