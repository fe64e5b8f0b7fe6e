//! A data directory's life, and what is refused as one.

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_directory_gets_a_key_that_it_keeps() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("a/b");
    let directory = Directory::open(&path).unwrap();
    assert_eq!(*directory.membership(), Membership::New);
    assert_eq!((mode(&path), mode(&path.join(KEY))), (0o700, 0o600));
    let seed = *directory.seed();
    drop(directory);
    assert_eq!(*Directory::open(&path).unwrap().seed(), seed);
}

#[test]
fn a_directory_opens_once_at_a_time() {
    let temporary = tempfile::tempdir().unwrap();
    let first = Directory::open(temporary.path()).unwrap();
    let error = Directory::open(temporary.path()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DirectoryError::InUse { .. }), "{text}");
    assert!(text.contains("this process already"), "{text}");
    drop(first);
    Directory::open(temporary.path()).unwrap();
}

#[test]
fn what_is_not_ours_is_refused_and_not_touched() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    fs::write(path.join("notes.txt"), "mine").unwrap();
    let error = Directory::open(path).unwrap_err();
    assert!(error.to_string().contains("`notes.txt`"), "{error}");
    assert_eq!(fs::read_dir(path).unwrap().count(), 1);

    fs::remove_file(path.join("notes.txt")).unwrap();
    fs::write(path.join(FORMAT), "leveret 7\n").unwrap();
    let error = Directory::open(path).unwrap_err();
    assert!(error.to_string().contains("`leveret 7`"), "{error}");
    fs::write(path.join(FORMAT), "sled\n").unwrap();
    let error = Directory::open(path).unwrap_err();
    assert!(matches!(error, DirectoryError::NotLeveret { .. }));

    let file = path.join("plain");
    fs::write(&file, "").unwrap();
    assert!(Directory::open(&file).is_err());
}

#[test]
fn an_interrupted_creation_is_finished() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    fs::write(path.join(LOCK), "").unwrap();
    fs::write(path.join("key.new"), "half").unwrap();
    Directory::open(path).unwrap();
    assert_eq!(
        fs::read_to_string(path.join(FORMAT)).unwrap(),
        "leveret 1\n"
    );
}

#[test]
fn what_was_not_made_is_not_made_by_looking_at_it() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    let files = || fs::read_dir(path).unwrap().count();
    assert!(Directory::open_made(path).unwrap().is_none());
    fs::write(path.join(LOCK), "").unwrap();
    fs::write(path.join(KEY), "half").unwrap();
    assert!(Directory::open_made(path).unwrap().is_none());
    assert_eq!(files(), 2);
    fs::write(path.join("notes.txt"), "mine").unwrap();
    let error = Directory::open_made(path).unwrap_err();
    assert!(
        matches!(error, DirectoryError::NotLeveret { .. }),
        "{error}"
    );
    assert!(Directory::open_made(&path.join("none")).is_err());
}

#[test]
fn where_a_backup_was_about_to_begin_nothing_else_is_made() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    fs::write(path.join(LOCK), "").unwrap();
    fs::write(path.join(backup::BEGUN), "leveret backup unfinished\n").unwrap();
    let refused = |error: DirectoryError| matches!(error, DirectoryError::Unfinished { .. });
    assert!(refused(Directory::open(path).unwrap_err()));
    assert!(refused(Directory::open_made(path).unwrap_err()));
    assert_eq!(fs::read_dir(path).unwrap().count(), 2);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let key = temporary.path().join(KEY);
    drop(Directory::open(temporary.path()).unwrap());
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let error = Directory::open(temporary.path()).unwrap_err();
    assert!(error.to_string().contains("mode 644"), "{error}");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "short").unwrap();
    let error = Directory::open(temporary.path()).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn membership_goes_from_new_over_joining_to_member() {
    let temporary = tempfile::tempdir().unwrap();
    let open = || Directory::open(temporary.path());
    let key = PublicKey([8; 32]);
    let nonce = [9; 16];
    let cluster = Founder { key, nonce }.cluster();
    open().unwrap().set_joining(cluster).unwrap();
    let mut directory = open().unwrap();
    assert_eq!(*directory.membership(), Membership::Joining(cluster));
    let file = ClusterFile {
        cluster,
        founder: key,
        nonce,
    };
    directory.set_cluster(file.clone()).unwrap();
    drop(directory);
    let directory = open().unwrap();
    assert_eq!(*directory.membership(), Membership::Member(file));
    assert!(!temporary.path().join(JOINING).exists());
    drop(directory);

    fs::remove_file(temporary.path().join(KEY)).unwrap();
    let error = open().unwrap_err();
    assert!(matches!(error, DirectoryError::Missing { .. }), "{error}");
    let path = temporary.path().join(CLUSTER);
    let founder_changed = fs::read_to_string(&path).unwrap().replace("0808", "0809");
    fs::write(&path, founder_changed).unwrap();
    let error = open().unwrap_err();
    assert!(matches!(error, DirectoryError::Damaged { .. }), "{error}");
    fs::write(&path, "cluster 12\n").unwrap();
    let error = open().unwrap_err();
    assert!(matches!(error, DirectoryError::Damaged { .. }), "{error}");
}
