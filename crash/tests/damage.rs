//! The part of the program that needs nothing but a disk, for a moment.

use std::process::Command;

#[test]
fn what_is_damaged_is_noticed_and_comes_back() {
    let ran = Command::new(env!("CARGO_BIN_EXE_leveret-crash"))
        .args(["damage", "--times", "6", "--saves", "20"])
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    let why = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}{why}");
    assert!(said.starts_with("damage: 6 times\n"), "{said}");
}
