//! What the case reader makes of a file: ids, dependencies, operations, and its refusals.

use merge_spec::{Case, NodeId, Operation, SetId};

const BASE: &str = "add /a\nadd /a/b\nadd /a/c\nadd /d";

/// A case with one save by `A` at 3, made of these lines.
fn lines(ops: &str) -> String {
    format!(
        "title = \"t\"\nbase = '''\n{BASE}\n'''\n\
         [[save]]\nby = \"A\"\nat = 3\nops = '''\n{ops}\n'''\n\
         [expect]\ntree = '{{}}'\nconflicts = []\n"
    )
}

/// A case with these saves, whole tables, over the usual base.
fn saves(tables: &str) -> String {
    format!(
        "title = \"t\"\nbase = '''\n{BASE}\n'''\n{tables}\n[expect]\ntree = '{{}}'\nconflicts = []\n"
    )
}

fn read(text: &str) -> Case {
    Case::parse("some.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(text: &str) -> String {
    Case::parse("some.toml", text)
        .expect_err("this is no case")
        .to_string()
}

/// What the only save but `base` came to.
fn written(ops: &str) -> Vec<Operation> {
    read(&lines(ops))
        .change_sets
        .pop()
        .expect("the save")
        .operations
}

fn a() -> NodeId {
    NodeId::of_add(NodeId::ROOT, "a", 0)
}

fn b() -> NodeId {
    NodeId::of_add(a(), "b", 0)
}

fn d() -> NodeId {
    NodeId::of_add(NodeId::ROOT, "d", 0)
}

#[test]
fn a_line_that_cannot_be_is_refused_with_file_save_and_line() {
    let refusals = [
        ("add /a/b", "the name is taken at `/a/b`"),
        ("add_unique /a/b", "the name is taken at `/a/b`"),
        ("move /d /a/b", "the name is taken at `/a/b`"),
        ("move /a/c /a/b", "the name is taken at `/a/b`"),
        ("add /x/y", "there is no node at `/x`"),
        ("set /x v 1", "there is no node at `/x`"),
        ("remove /x", "there is no node at `/x`"),
        ("move /a /a/b/a", "a node cannot move below itself"),
        ("move /a /a/x", "a node cannot move below itself"),
        ("move /a/b /a/b", "it is there already"),
        (
            "remove /",
            "the root can be neither added, removed, moved nor ordered",
        ),
        (
            "add /",
            "the root can be neither added, removed, moved nor ordered",
        ),
        (
            "order / first",
            "the root can be neither added, removed, moved nor ordered",
        ),
        (
            "add /n~0123abcd",
            "the name `n~0123abcd` is reserved, as it ends in ~ and hex digits",
        ),
        ("add a", "`a` is no path"),
        ("add /a//b", "`/a//b` is no path"),
        ("add /a/", "`/a/` is no path"),
        ("add", "a path is missing"),
        ("set /a v", "a value is missing"),
        (
            "set /a v null",
            "null is no value; unset the property instead",
        ),
        (
            "set /a v {}",
            "an object is no value, except $bytes, $time, $ref",
        ),
        ("inc /a v 1.5", "`1.5` is no 64-bit integer"),
        ("inc /a v 1 2", "`2` is too much"),
        ("order /a/b middle", "there is no operation `order middle`"),
        ("order /a/b before x", "there is no node at `/a/x`"),
        ("order /a/b before b", "there is no node at `/a/b`"),
        ("copy /a /e", "there is no operation `copy`"),
        ("add \"/x", "`\"/x` does not begin with a JSON string"),
        ("add \"/x\"y", "`\"/x\"y` does not begin with a JSON string"),
    ];
    for (line, why) in refusals {
        let expected = format!("some.toml: save A@3, line 2 `{line}`: {why}");
        assert_eq!(refused(&lines(&format!("set /a v 1\n  {line}"))), expected);
    }
    let long = "n".repeat(256);
    assert!(refused(&lines(&format!("add /{long}"))).contains("one has 1 to 255 bytes"));
}

#[test]
fn what_the_author_removed_is_not_there_any_more() {
    let why = refused(&lines("remove /a\nset /a/b v 1"));
    assert_eq!(
        why,
        "some.toml: save A@3, line 2 `set /a/b v 1`: there is no node at `/a/b`"
    );
}

#[test]
fn a_save_that_cannot_be_is_refused() {
    let one = |by: &str, at: u64, saw: &str| {
        format!("[[save]]\nby = \"{by}\"\nat = {at}\nsaw = {saw}\nops = ''\n")
    };
    let both = |first: String, second: String| refused(&saves(&(first + &second)));
    assert_eq!(
        both(one("A", 3, "[]"), one("A", 3, "[]")),
        "some.toml: save A@3: there are two of this author and time"
    );
    assert_eq!(
        both(one("A", 3, "['B@2']"), one("B", 4, "[]")),
        "some.toml: save A@3: it saw B@2: there is no such save"
    );
    assert_eq!(
        both(one("A", 3, "['B@4']"), one("B", 4, "[]")),
        "some.toml: save A@3: it saw B@4: an id is greater than that of everything seen"
    );
    assert_eq!(
        refused(&saves(&one("A", 3, "['B']"))),
        "some.toml: save A@3: `B` in `saw` is not AUTHOR@TIME"
    );
    for word in ["base", "", "two words", "A@1", "seventeen_letters"] {
        let why = refused(&saves(&one(word, 3, "[]")));
        assert!(
            why.ends_with("an author is a word of at most 16 bytes, and not `base`"),
            "{why}"
        );
    }
}

#[test]
fn a_file_of_another_shape_is_refused() {
    let good = lines("add /x");
    assert!(refused(&good.replace("conflicts", "conflict")).contains("conflict"));
    assert!(
        refused(&good.replace("tree = '{}'", "tree = '{'")).starts_with("some.toml: expect: tree")
    );
    for conflicts in ["['B@1 x', 'A@1 x']", "['A@1 x', 'A@1 x']"] {
        let why = refused(&good.replace("conflicts = []", &format!("conflicts = {conflicts}")));
        assert_eq!(
            why,
            "some.toml: expect: conflicts: not sorted, or one is there twice"
        );
    }
    assert!(
        Case::read("no-such-file.toml")
            .expect_err("no file")
            .to_string()
            .contains("no-such")
    );
}

#[test]
fn dependencies_are_a_frontier_and_the_authors_own_last_save() {
    let case = read(&saves(
        "[[save]]\nby = 'A'\nat = 1\nops = ''\n\
         [[save]]\nby = 'C'\nat = 7\nsaw = ['B@3']\nops = ''\n\
         [[save]]\nby = 'B'\nat = 3\nsaw = ['A@1']\nops = ''\n\
         [[save]]\nby = 'A'\nat = 5\nsaw = ['B@3']\nops = ''\n",
    ));
    let found: Vec<String> = case
        .change_sets
        .iter()
        .map(|set| {
            let named = set
                .dependencies
                .iter()
                .map(|(origin, seq)| format!(" {origin}{seq}"));
            format!("{} {}:{}", set.id, set.sequence, named.collect::<String>())
        })
        .collect();
    assert_eq!(
        found,
        [
            "base@0 1:",
            "A@1 1: base1",
            "B@3 1: A1",
            "A@5 2: A1 B1",
            "C@7 1: B1"
        ]
    );
    let times: Vec<SetId> = case.saves.iter().map(|save| save.id).collect();
    assert_eq!(
        times.iter().map(|id| id.time).collect::<Vec<_>>(),
        [0, 1, 7, 3, 5]
    );
}

#[test]
fn a_move_in_one_parent_is_a_rename_and_a_name_that_stays_is_not_written() {
    // M9.
    let (node, parent) = (b(), d());
    assert_eq!(
        written("move /a/b /a/x"),
        [Operation::Rename {
            node,
            name: "x".to_owned()
        }]
    );
    assert_eq!(
        written("move /a/b /d/b"),
        [Operation::Move {
            node,
            parent,
            name: None
        }]
    );
    let name = Some("x".to_owned());
    assert_eq!(
        written("move /a/b /d/x"),
        [Operation::Move { node, parent, name }]
    );
}

#[test]
fn k_counts_the_nodes_that_were_added_there_before() {
    // M3: those in the trash and those moved away included.
    let again = |k| Operation::Add {
        parent: a(),
        name: "b".to_owned(),
        k,
    };
    let operations = written("remove /a/b\nadd /a/b\nmove /a/b /d/b\nadd /a/b");
    assert_eq!(operations[1], again(1));
    assert_eq!(operations[3], again(2));
}

#[test]
fn tokens_can_be_json_strings_and_some_lines_say_nothing() {
    let operations =
        written("# nothing\n\n  add \"/a/two words\"\nset \"/a/two words\" \"a b\" \"c # d\"");
    let Operation::Set {
        property, value, ..
    } = &operations[1]
    else {
        panic!("a set");
    };
    assert_eq!((operations.len(), property.as_str()), (2, "a b"));
    assert_eq!(value.to_json(), "c # d");
}

#[test]
fn no_key_fits_between_two_of_one_name() {
    // M11. C sees two of the name n, with equal effective keys and next to each other.
    let case = |order: &str| {
        saves(&format!(
            "[[save]]\nby = 'A'\nat = 1\nops = 'add_unique /d/n'\n\
             [[save]]\nby = 'B'\nat = 2\nops = 'add_unique /d/n'\n\
             [[save]]\nby = 'C'\nat = 3\nsaw = ['A@1', 'B@2']\nops = '''\nadd /d/x\n{order}\n'''\n"
        ))
    };
    let both =
        ["before", "after"].map(|place| Case::parse("t", &case(&format!("order /d/x {place} n"))));
    let failed: Vec<String> = both
        .into_iter()
        .filter_map(|read| read.err().map(|error| error.to_string()))
        .collect();
    assert_eq!(
        failed.len(),
        1,
        "between them, but not on the outer side of both"
    );
    assert!(
        failed[0].ends_with("no order key fits between the two neighbours"),
        "{}",
        failed[0]
    );
}

#[test]
fn an_order_key_ends_in_the_authors_first_four_bytes() {
    // M11.
    for (line, from, to) in [
        ("order /a/c first", vec![], vec![0x80, b'b']),
        ("order /a/c after b", vec![0x80, b'b'], vec![0xff; 9]),
        ("order /a/b last", vec![0x80, b'c'], vec![0xff; 9]),
    ] {
        let Some(Operation::Order { key, .. }) = written(line).pop() else {
            panic!("an order")
        };
        assert!(
            from < key && key < to && key.ends_with(b"A\0\0\0"),
            "{line}: {key:?}"
        );
    }
}

#[test]
fn a_case_says_whether_it_needs_all_or_nothing() {
    let plain = lines("add /x");
    assert!(!read(&plain).needs_all_or_nothing());
    assert!(read(&plain.replace("at = 3", "at = 3\nall_or_nothing = true")).needs_all_or_nothing());
}

#[test]
fn a_result_that_differs_is_told_with_the_case() {
    let clash = saves(
        "[[save]]\nby = 'A'\nat = 1\nops = 'add_unique /d/n'\n\
         [[save]]\nby = 'B'\nat = 2\nops = '''\nadd_unique /d/n\nset /d/n v 1\n'''",
    );
    let expecting = |tree: &str, conflicts: &str, order: &str| {
        let text = clash.replace("tree = '{}'", &format!("tree = '{tree}'"));
        let text = text.replace("conflicts = []", &format!("conflicts = {conflicts}"));
        read(&format!("{text}[expect.order]\n'/d' = {order}\n")).check()
    };
    let tree = r#"{"a": {"b": {}, "c": {}}, "d": {"n": {}, "n~*": {"v": 1}}}"#;
    let (pair, order) = ("['B@2 name-clash']", "['n', 'n~*']");
    let other = order.replace("'n', 'n~*'", "'n~*', 'n'");
    // Equal keys sort by id; which of the two ids is smaller is for the hash to say.
    assert!(expecting(tree, pair, order).is_ok() != expecting(tree, pair, &other).is_ok());
    for wrong in [
        tree.replace("\"v\": 1", "\"v\": 2"),
        tree.replace("\"v\": 1", "\"v\": 1.0"),
        tree.replace("n~*", "m~*"),
        tree.replace("n~*", "n~"),
        tree.replace(", \"n~*\": {\"v\": 1}", ""),
        tree.replace("\"n\": {},", "\"n\": {}, \"n~*2\": {},"),
        tree.replace("\"n\": {},", ""),
    ] {
        let why = expecting(&wrong, pair, order)
            .expect_err("another tree")
            .to_string();
        assert!(why.starts_with("some.toml (t): tree:"), "{why}");
    }
    assert!(expecting(tree, "[]", order).is_err());
    assert!(expecting(tree, pair, "['n']").is_err());
}
