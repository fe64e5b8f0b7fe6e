//! Opening a peer: directory, identity, socket, cluster, store, replica, threads, tasks.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::clock;
use super::connection::End;
use super::core::Core;
use super::dial::Dialler;
use super::directory::{ClusterFile, Directory, Membership};
use super::disk::DiskThread;
use super::error::OpenError;
use super::handle::{Inner, Peer};
use super::join::{self, Joined};
use super::network::{Network, own_address};
use super::options::PeerOptions;
use super::store::{OpenStore, Store};
use crate::codec::handshake::{REPLICA_NAME_BYTES_MAX, is_address};
use crate::net::{Endpoint, JoinToken, Limits};
use crate::replica::identity::Identity;
use crate::replica::{Founder, Replica, ReplicaConfig};
use crate::storage::sled::{SledOptions, SledStorage};

/// Opens a peer on sled.
pub(super) async fn open(path: &Path, options: PeerOptions) -> Result<Peer, OpenError> {
    let (cache, slack) = (options.cache_bytes / 2, options.slack_bytes);
    let open_store: OpenStore = Arc::new(move |path| {
        let options = SledOptions::default()
            .with_cache_bytes(cache)
            .with_slack_bytes(slack);
        SledStorage::open(path, &options).map(|store| Box::new(store) as _)
    });
    open_on(path, options, open_store).await
}

/// Opens a peer on any store.
pub(super) async fn open_on(
    path: &Path,
    options: PeerOptions,
    open_store: OpenStore,
) -> Result<Peer, OpenError> {
    check(&options)?;
    let owned = path.to_owned();
    let mut directory = blocking(move || Directory::open(&owned)).await??;
    directory.take_up()?;
    if options.refetch {
        begin_again(&mut directory, options.join.as_ref())?;
    }
    let identity = Identity::from_seed(directory.seed());
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let endpoint = Endpoint::bind(options.listen.unwrap_or(any), &identity, Limits::default())?;
    let listen = options.listen.and_then(|_| endpoint.local_addr().ok());
    let addresses = match listen {
        Some(bound) if options.advertise.is_empty() => own_address(bound).into_iter().collect(),
        _ => options.advertise.clone(),
    };
    let me = End {
        key: identity.public(),
        instance: clock::random(),
    };
    let (cluster, joined) = settle(&mut directory, &endpoint, me, &options, &addresses).await?;

    let mut config = ReplicaConfig::new(Founder {
        key: cluster.founder,
        nonce: cluster.nonce,
    });
    config.durability = options.durability;
    config.skew_max_ms = u64::try_from(options.skew_max.as_millis()).unwrap_or(u64::MAX);
    config.checkpoint_interval_ms =
        u64::try_from(options.checkpoint_interval.as_millis()).unwrap_or(u64::MAX);
    config.addresses.clone_from(&addresses);
    config.name.clone_from(&options.name);
    // The half that the store leaves, and the other repository's eighth of it.
    config.cache_bytes = usize::try_from(options.cache_bytes / 18 * 8).unwrap_or(usize::MAX);
    let store_path = directory.store();
    let reopen = {
        let store_path = store_path.clone();
        move || open_replica(&store_path, &open_store, &config, &identity)
    };
    let (store, replica, reopen) = blocking(move || {
        let (store, replica) = reopen()?;
        Ok::<_, OpenError>((store, replica, reopen))
    })
    .await??;

    let core = Core::new(replica, store.clone(), Box::new(reopen));
    // What opening has found is in the first status that anybody asks for.
    core.inspect(|engine| engine.pump(&core));
    let home = directory.home(cluster.clone());
    let disk = DiskThread {
        core: core.clone(),
        store,
        directory,
    };
    let threads = vec![
        spawn("leveret-storage", move || disk.run())?,
        spawn("leveret-core", {
            let core = core.clone();
            move || core.run_thread()
        })
        .inspect_err(|_| core.disk.stop())?,
    ];
    let network = Network::new(
        core.clone(),
        endpoint,
        me,
        cluster,
        options.name,
        addresses,
        listen.is_some(),
    );
    let dialler = Arc::new(Dialler::default());
    let tasks = vec![
        tokio::spawn(network.clone().accept()).abort_handle(),
        tokio::spawn(dialler.clone().run(network.clone())).abort_handle(),
    ];
    if let Some(Joined { link, end, name }) = joined {
        let network = network.clone();
        tokio::spawn(async move { network.run(link, end, network.me, name).await });
    }
    Ok(Peer::new(Inner {
        core,
        network,
        dialler,
        tasks,
        threads: Mutex::new(Some(threads)),
        listen,
        conflicts: Arc::default(),
        home,
    }))
}

fn check(options: &PeerOptions) -> Result<(), OpenError> {
    let name = &options.name;
    if name.len() > REPLICA_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(OpenError::Option(format!(
            "the peer's name has control characters, or more than {REPLICA_NAME_BYTES_MAX} bytes"
        )));
    }
    if let Some(address) = options.advertise.iter().find(|a| !is_address(a)) {
        return Err(OpenError::Option(format!(
            "`{address}` is not an address like host:port"
        )));
    }
    Ok(())
}

/// Sets aside what the directory's store has, to join the cluster that it belongs to once more.
fn begin_again(directory: &mut Directory, token: Option<&JoinToken>) -> Result<(), OpenError> {
    let Some(token) = token else {
        let reason = "to fetch everything again, a join token says from whom";
        return Err(OpenError::Option(reason.into()));
    };
    let wanted = token.cluster();
    let found = match directory.membership() {
        Membership::New => return Ok(()),
        Membership::Joining(cluster) => *cluster,
        Membership::Member(file) => file.cluster,
    };
    if found != wanted {
        return Err(OpenError::OtherCluster { found, wanted });
    }
    if let Some(aside) = directory.set_store_aside(wanted)? {
        tracing::warn!(store = %aside.display(), "the store is set aside");
    }
    Ok(())
}

/// Finds out which cluster the directory belongs to, and founds or joins one if to none.
async fn settle(
    directory: &mut Directory,
    endpoint: &Endpoint,
    me: End,
    options: &PeerOptions,
    addresses: &[String],
) -> Result<(ClusterFile, Option<Joined>), OpenError> {
    match (directory.membership().clone(), &options.join) {
        (Membership::Member(file), Some(token)) if token.cluster() != file.cluster => {
            Err(OpenError::OtherCluster {
                found: file.cluster,
                wanted: token.cluster(),
            })
        }
        (Membership::Member(file), _) => Ok((file, None)),
        (Membership::Joining(cluster), None) => Err(OpenError::JoinUnfinished(cluster)),
        (_, Some(token)) => {
            directory.set_joining(token.cluster())?;
            let (file, joined) = join::join(endpoint, me, &options.name, addresses, token).await?;
            directory.set_cluster(file.clone())?;
            Ok((file, Some(joined)))
        }
        (Membership::New, None) => {
            let founder = Founder {
                key: me.key,
                nonce: clock::random(),
            };
            let file = ClusterFile {
                cluster: founder.cluster(),
                founder: founder.key,
                nonce: founder.nonce,
            };
            directory.set_cluster(file.clone())?;
            Ok((file, None))
        }
    }
}

fn open_replica(
    path: &Path,
    open_store: &OpenStore,
    config: &ReplicaConfig,
    identity: &Identity,
) -> Result<(Arc<Store>, Replica), OpenError> {
    let store = open_store(path).map_err(|source| OpenError::Store {
        path: path.to_owned(),
        source,
    })?;
    let store = Store::new(store);
    let opened = Replica::open(
        config.clone(),
        identity.clone(),
        store.clone(),
        clock::random(),
        clock::now(),
    );
    match opened {
        Ok(replica) => Ok((store, replica)),
        Err(error) => {
            store.close();
            Err(error.into())
        }
    }
}

fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, OpenError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(OpenError::Thread)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OpenError> {
    // Fails if the work panicked, or the runtime ends.
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| OpenError::Ended)
}
