//! Peers with something in them.

use std::path::Path;

use leveret::model::NodeId;
use leveret::peer::{Durability, Peer, PeerOptions};

/// A runtime for what is asynchronous.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A peer on a fresh directory, with `nodes` nodes `/n/n0`, `/n/n1`, and so on.
pub(crate) async fn peer(
    directory: &Path,
    durability: Durability,
    nodes: usize,
) -> (Peer, Vec<NodeId>) {
    let options = PeerOptions::default().durability(durability);
    let peer = Peer::open(directory, options).await.unwrap();
    let mut session = peer.session();
    let parent = session.add("/n").unwrap();
    session.save().await.unwrap();
    let mut ids = Vec::with_capacity(nodes);
    while ids.len() < nodes {
        let mut session = peer.session();
        for i in ids.len()..nodes.min(ids.len() + 1_000) {
            ids.push(session.add_child(parent, &format!("n{i}")).unwrap());
        }
        session.save().await.unwrap();
    }
    (peer, ids)
}
