use super::*;
use crate::strace::Argument;

fn call(name: &str, arguments: Vec<Argument>, number: i64, path: Option<&str>) -> Call {
    Call {
        name: name.into(),
        arguments,
        result: Some(Answer::Done(number, path.map(PathBuf::from))),
    }
}

fn play(calls: Vec<Call>) -> Disk {
    let root = Names::from([(PathBuf::from("/d"), Entry::Directory)]);
    let mut disk = Disk {
        root: "/d".into(),
        first: root.clone(),
        seen: root,
        ..Disk::default()
    };
    let steps = (0..calls.len()).flat_map(|at| [Step::Begins(at), Step::Ends(at)]);
    let steps: Vec<Step> = steps.collect();
    let record = Record {
        calls,
        steps: steps.clone(),
    };
    for step in steps {
        disk.step(&record, step);
    }
    disk
}

fn made(path: &str, fd: i64) -> Call {
    let flags = Argument::Word("O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC".into());
    let path_bytes = Argument::Bytes(path.into());
    let at = Argument::File(-1, "/".into());
    call("openat", vec![at, path_bytes, flags], fd, Some(path))
}

fn written(path: &str, fd: i64, bytes: &[u8]) -> Call {
    let file = Argument::File(fd, path.into());
    let count = i64::try_from(bytes.len()).unwrap();
    let bytes = Argument::Bytes(bytes.to_vec());
    call(
        "write",
        vec![file, bytes, Argument::Number(count)],
        count,
        None,
    )
}

fn synced(path: &str, fd: i64) -> Call {
    call("fsync", vec![Argument::File(fd, path.into())], 0, None)
}

fn after_cuts(disk: &Disk) -> BTreeSet<Option<Vec<u8>>> {
    let cuts = (0..64).map(|seed| {
        let into = tempfile::tempdir().unwrap();
        disk.write_cut(into.path(), &mut Chance::new(seed, "cut"))
            .unwrap();
        fs::read(into.path().join("a")).ok()
    });
    cuts.collect()
}

#[test]
fn what_was_not_synced_may_be_lost_and_may_be_there() {
    let disk = play(vec![made("/d/a", 3), written("/d/a", 3, b"xy")]);
    let after = after_cuts(&disk);
    assert!(after.contains(&None) && after.contains(&Some(b"xy".to_vec())));
    assert!(after.contains(&Some(Vec::new())));
}

#[test]
fn what_was_synced_lasts_once_its_directory_was_synced_too() {
    let calls = vec![
        made("/d/a", 3),
        written("/d/a", 3, b"xy"),
        synced("/d/a", 3),
    ];
    let without = after_cuts(&play(calls.clone()));
    assert_eq!(without, BTreeSet::from([None, Some(b"xy".to_vec())]));
    let after = after_cuts(&play([calls, vec![synced("/d", 4)]].concat()));
    assert_eq!(after, BTreeSet::from([Some(b"xy".to_vec())]));
}

#[test]
fn a_file_under_a_new_name_is_the_old_one_or_the_new_one() {
    let mut calls = vec![made("/d/a", 3), written("/d/a", 3, b"old")];
    calls.extend([synced("/d/a", 3), synced("/d", 4), made("/d/a.new", 5)]);
    calls.extend([written("/d/a.new", 5, b"new"), synced("/d/a.new", 5)]);
    let paths = ["/d/a.new", "/d/a"].map(|path| Argument::Bytes(path.into()));
    calls.push(call("rename", paths.to_vec(), 0, None));
    let after = after_cuts(&play(calls));
    let expected = [b"new", b"old"].map(|text| Some(text.to_vec()));
    assert_eq!(after, BTreeSet::from(expected));
}

#[test]
fn a_killed_process_leaves_all_that_it_wrote() {
    let disk = play(vec![made("/d/a", 3), written("/d/a", 3, b"xy")]);
    let into = tempfile::tempdir().unwrap();
    disk.write_seen(into.path()).unwrap();
    assert_eq!(fs::read(into.path().join("a")).unwrap(), b"xy");
}
