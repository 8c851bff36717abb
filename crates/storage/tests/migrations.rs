//! The old binary runs on the new schema: what follows the first migration only adds, unless its name says `contract`.

use std::path::Path;

const FIRST: &str = "V1__schema.sql";

/// What takes something away from a binary that still runs, or holds its tables locked while rows are checked.
const NARROWING: [&str; 9] = [
    "drop table",
    "drop column",
    "drop function",
    "drop view",
    "rename",
    "revoke",
    "set not null",
    "set data type",
    "truncate",
];

/// The statements of a migration in one case, without comments and with single blanks.
fn statements(sql: &str) -> Vec<String> {
    let code: Vec<&str> = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .collect();
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    code.join(" ")
        .to_lowercase()
        .split(';')
        .map(one_line)
        .filter(|statement| !statement.is_empty())
        .collect()
}

/// Why this statement may not stand in a migration that expands.
fn narrows(statement: &str) -> Option<String> {
    let found = NARROWING.into_iter().find(|words| statement.contains(words));
    if let Some(words) = found {
        return Some(words.to_owned());
    }
    let alters_type = statement.contains("alter column") && statement.contains(" type ");
    if alters_type {
        return Some("alter column .. type".to_owned());
    }
    let adds = statement.split("add column ").skip(1);
    adds.into_iter()
        .map(|column| column.split(',').next().unwrap_or_default())
        .find(|column| column.contains("not null") && !column.contains("default"))
        .map(|column| format!("add column without a default: {column}"))
}

fn refused(name: &str, sql: &str) -> Vec<String> {
    if name == FIRST || name.contains("contract") {
        return Vec::new();
    }
    let why = statements(sql).into_iter().filter_map(|s| narrows(&s));
    why.map(|why| format!("{name}: {why}")).collect()
}

#[test]
fn a_migration_after_the_first_only_adds() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "sql"))
        .collect();
    assert!(files.iter().any(|path| path.ends_with(FIRST)), "{files:?}");
    let of_file = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        refused(name, &std::fs::read_to_string(path).unwrap())
    };
    let found: Vec<String> = files.iter().flat_map(of_file).collect();
    assert!(
        found.is_empty(),
        "expand first, contract a release later (migrations/README.md): {found:?}"
    );
}

#[test]
fn what_narrows_is_refused_unless_the_name_says_so() {
    for sql in [
        "ALTER TABLE payments DROP COLUMN phone;",
        "alter table a\n  rename column b to c;",
        "alter table a alter column b set not null;",
        "alter table a alter column b type text;",
        "alter table a add column b text not null;",
        "revoke select on a from b;",
    ] {
        assert_eq!(refused("V2__more.sql", sql).len(), 1, "{sql}");
        assert!(refused("V9__contract_phone.sql", sql).is_empty(), "{sql}");
    }
}

#[test]
fn what_adds_is_let_through() {
    let sql = "-- drop table in a comment\ncreate table t (a text not null);\n\
        alter table a add column b text, add column c int not null default 0;\n\
        create index i on t (a); grant select on t to r;";
    assert_eq!(refused("V2__more.sql", sql), Vec::<String>::new());
}
