//! The rights of each role on each table: the test tries every pair and compares the result with the committed table.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use testkit::{Database, Servers};

const ROLES: [&str; 4] = ["gateway", "callback", "executor", "ops"];
const VERBS: [&str; 5] = ["select", "insert", "update", "delete", "truncate"];

/// Runs each statement as each role, column by column where rights can be by column, and rolls back what was allowed.
/// PostgreSQL checks rights before it reads rows, so `where false` tests the right without changing a row.
/// `anyone` is a predefined role without any grant of ours: it has the rights of PUBLIC.
const TRIES: &str = r"
create function pg_temp.may(role text, statement text) returns boolean language plpgsql as $$
begin
    perform set_config('role', role, true);
    execute statement;
    raise exception using errcode = 'ZZ001';
exception
    when insufficient_privilege then return false;
    when sqlstate 'ZZ001' then return true;
end $$;
with roles (name, role) as (
    values ('gateway', 'fiatrails_gateway'), ('callback', 'fiatrails_callback'), ('executor', 'fiatrails_executor'),
           ('ops', 'fiatrails_ops'), ('anyone', 'pg_signal_backend')
), columns as (
    select c.oid::regclass::text as tab, c.relkind as kind, a.attname as col, a.attidentity <> '' as generated
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace in ('public'::regnamespace, 'published'::regnamespace) and c.relkind in ('r', 'p', 'v')
), tries as (
    select tab, 'select' as verb, col, format('select %I from %s where false', col, tab) as statement from columns
    union all select tab, 'insert', col, format('insert into %s (%I) select null where false', tab, col)
        from columns where not generated and kind <> 'v'
    union all select tab, 'update', col, format('update %s set %I = default where false', tab, col)
        from columns where kind <> 'v'
    union all select distinct tab, 'delete', '', format('delete from %s where false', tab) from columns where kind <> 'v'
    union all select distinct tab, 'truncate', '', format('truncate %s cascade', tab) from columns where kind <> 'v'
)
select tab, name, verb, col from tries cross join roles where pg_temp.may(role, statement) order by 1, 2, 3, 4";

const FUNCTIONS: &str = "select p.proname, r.name from pg_proc p, (values ('gateway', 'fiatrails_gateway'), \
    ('callback', 'fiatrails_callback'), ('executor', 'fiatrails_executor'), ('ops', 'fiatrails_ops'), \
    ('anyone', 'pg_signal_backend')) r (name, role) where p.pronamespace = 'public'::regnamespace \
    and has_function_privilege(r.role, p.oid, 'execute') order by 1, 2";

/// The schema of the views by which services read the tables of others.
const PUBLISHED: &str = "published.";

/// The tables that each view reads.
const READ_BY_VIEWS: &str = "select distinct v.oid::regclass::text, t.oid::regclass::text \
    from pg_class v join pg_rewrite r on r.ev_class = v.oid \
    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass \
    join pg_class t on t.oid = d.refobjid and t.oid <> v.oid \
    where v.relnamespace = 'published'::regnamespace order by 1, 2";

/// Columns by table, role and verb.
type Rights = BTreeMap<(String, String, String), BTreeSet<String>>;

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .map(|line| line.split('|').collect::<Vec<_>>())
        .filter(|row| row.len() > 1)
}

fn rights_found(database: &Database) -> Rights {
    let mut rights = Rights::new();
    for row in rows(&database.sql(TRIES).unwrap()) {
        let key = (row[0].to_owned(), row[1].to_owned(), row[2].to_owned());
        rights.entry(key).or_default().insert(row[3].to_owned());
    }
    rights
}

/// The columns of each table.
fn columns(database: &Database) -> BTreeMap<String, BTreeSet<String>> {
    let listed = database
        .sql(
            "select format('%I.%I', table_schema, table_name)::regclass, column_name from information_schema.columns \
             where table_schema in ('public', 'published')",
        )
        .unwrap();
    let mut columns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows(&listed) {
        columns
            .entry(row[0].to_owned())
            .or_default()
            .insert(row[1].to_owned());
    }
    columns
}

fn cell(rights: &Rights, table: &str, role: &str, all: &BTreeSet<String>) -> String {
    let mut rights_text = Vec::new();
    for verb in VERBS {
        let Some(granted) = rights.get(&(table.to_owned(), role.to_owned(), verb.to_owned())) else {
            continue;
        };
        let whole = granted.contains("") || granted.len() == all.len() || verb == "insert";
        let some: Vec<&str> = granted.iter().map(String::as_str).collect();
        rights_text.push(if whole {
            verb.to_owned()
        } else {
            format!("{verb} ({})", some.join(", "))
        });
    }
    rights_text.join(", ")
}

fn describe(database: &Database, rights: &Rights) -> String {
    let mut text = String::from(
        "# Who may do what to which table\n\n\
         Services read the tables of others by the views of the schema `published`; the operators' command line reads every\n\
         table. Every right here was tried, and everything else was refused. Renew with\n\
         `FIATRAILS_WRITE_DOCS=1 cargo nextest run -p storage --test grants`, and look at the difference twice.\n\n\
         | table | gateway | callback | executor | ops |\n|---|---|---|---|---|\n",
    );
    for (table, all) in columns(database) {
        let cells = ROLES.map(|role| cell(rights, &table, role, &all));
        writeln!(text, "| `{table}` | {} |", cells.join(" | ")).unwrap();
    }
    text.push_str("\n| function | who may call it |\n|---|---|\n");
    for row in rows(&database.sql(FUNCTIONS).unwrap()) {
        writeln!(text, "| `{}` | {} |", row[0], row[1]).unwrap();
    }
    text
}

#[tokio::test]
async fn every_role_has_exactly_the_documented_rights() {
    let database = Servers::shared().unwrap().database().await.unwrap();
    let rights = rights_found(&database);
    let found = describe(&database, &rights);
    let path = testkit::dirs::workspace().join("migrations/GRANTS.md");
    if std::env::var_os("FIATRAILS_WRITE_DOCS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, committed,
        "migrations/GRANTS.md does not say what the database allows"
    );
    let anyone: Vec<_> = rights.keys().filter(|(_, role, _)| role == "anyone").collect();
    assert!(anyone.is_empty(), "granted to PUBLIC: {anyone:?}");
}

#[tokio::test]
async fn every_table_has_one_writer() {
    let database = Servers::shared().unwrap().database().await.unwrap();
    let mut writers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for ((table, role, verb), columns) in rights_found(&database) {
        assert_ne!(verb, "truncate", "{role} may empty {table}");
        // The only exception: operators resolve what the callback service opens.
        let resolves = ["resolution", "resolved_at", "resolved_by"];
        if table == "exceptions" && role == "ops" && columns.iter().eq(resolves) {
            continue;
        }
        if verb != "select" {
            writers.entry(table).or_default().insert(role);
        }
    }
    let shared: Vec<_> = writers.iter().filter(|(_, roles)| roles.len() != 1).collect();
    assert!(shared.is_empty(), "more than one writer: {shared:?}");
    let unwritten: Vec<_> = columns(&database)
        .into_keys()
        .filter(|table| !table.starts_with(PUBLISHED) && !writers.contains_key(table))
        .collect();
    assert!(unwritten.is_empty(), "no role may write {unwritten:?}");
}

/// The role that inserts into each table.
fn writers(rights: &Rights) -> BTreeMap<&str, &str> {
    let inserts = rights.keys().filter(|(.., verb)| verb == "insert");
    let update_only = ("block_follower_lease", "executor");
    let by_insert = inserts.map(|(table, role, _)| (table.as_str(), role.as_str()));
    by_insert.chain([update_only]).collect()
}

#[tokio::test]
async fn a_service_reads_the_tables_of_others_by_published_views_alone() {
    let database = Servers::shared().unwrap().database().await.unwrap();
    let rights = rights_found(&database);
    let writers = writers(&rights);
    let foreign = rights.keys().filter(|(table, role, verb)| {
        let own = writers.get(table.as_str()) == Some(&role.as_str());
        verb == "select" && role != "ops" && !own && !table.starts_with(PUBLISHED)
    });
    assert_eq!(
        foreign.collect::<Vec<_>>(),
        Vec::<&(String, String, String)>::new()
    );
    // And each view shows the tables of one writer, to others.
    let mut read_by: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for row in rows(&database.sql(READ_BY_VIEWS).unwrap()) {
        let writer = writers[row[1]];
        read_by.entry(row[0].to_owned()).or_default().insert(writer);
    }
    assert!(read_by.len() >= 10, "{read_by:?}");
    for (view, of) in read_by {
        assert_eq!(of.len(), 1, "{view} shows the tables of {of:?}");
        let readers = rights
            .keys()
            .filter(|(name, ..)| *name == view)
            .map(|key| key.1.as_str());
        let readers: Vec<&str> = readers.collect();
        assert!(!readers.is_empty(), "nobody reads {view}");
        let own = readers
            .iter()
            .find(|reader| **reader != "ops" && of.contains(*reader));
        assert_eq!(own, None, "{view}: a service reads its own tables directly");
    }
}

/// Evidence and history are never rewritten, not even by their owner.
#[tokio::test]
async fn evidence_and_history_are_append_only() {
    let database = Servers::shared().unwrap().database().await.unwrap();
    let rights = rights_found(&database);
    for table in [
        "mint_intents",
        "mpesa_reports",
        "payments",
        "decision_history",
        "chain_leg_history",
        "audit_log",
    ] {
        for (key, columns) in rights.iter().filter(|((name, ..), _)| name == table) {
            let verb = key.2.as_str();
            assert!(["select", "insert"].contains(&verb), "{key:?}: {columns:?}");
        }
    }
}

/// What no service may do: change the schema, become another role, or access the server's files.
const ELSEWHERE: &str = r"
with fixed (statement) as (values
    ('create table planted ()'), ('create schema planted'), ('create role planted'), ('create extension pgcrypto'),
    ('create function planted() returns int language sql as ''select 1'''), ('select pg_read_file(''/etc/passwd'')'),
    ('copy (select 1) to ''/tmp/planted'''), ('copy (select 1) to program ''true'''),
    ('select rolpassword from pg_authid'), ('select pg_reload_conf()'),
    ('alter role fiatrails_gateway createrole'), ('grant fiatrails_callback to fiatrails_gateway')
), tables as (
    select format('%I', c.relname) as tab from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
), views as (
    select c.oid::regclass::text as name from pg_class c
    where c.relnamespace = 'published'::regnamespace and c.relkind = 'v'
), tries as (
    select statement from fixed
    union all select format(s, tab) from tables, (values
        ('alter table %s add column planted int'), ('drop table %s cascade'), ('alter table %s disable trigger all'),
        ('alter table %s owner to fiatrails_ops'), ('create trigger planted before update on %s for each row execute function
          pg_catalog.suppress_redundant_updates_trigger()')) as t (s)
    union all select format(s, name) from views, (values ('drop view %s cascade'), ('alter view %s owner to fiatrails_ops'),
        ('create or replace view %s as select 1 as planted')) as v (s)
    union all select format('select setval(%L, 1)', c.oid::regclass) from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'S'
), roles (role) as (values ('fiatrails_gateway'), ('fiatrails_callback'), ('fiatrails_executor'), ('fiatrails_ops'))
select role, replace(statement, chr(10), ' '), pg_temp.may(role, statement) from tries cross join roles";

#[tokio::test]
async fn no_role_can_change_structure_become_another_or_leave_the_database() {
    let database = Servers::shared().unwrap().database().await.unwrap();
    let (may, _) = TRIES.split_once("with roles").unwrap();
    let attempts = database.sql(&format!("{may}{ELSEWHERE}")).unwrap();
    let attempts: Vec<Vec<&str>> = rows(&attempts).collect();
    assert!(attempts.len() > 400, "{} tries", attempts.len());
    let allowed: Vec<_> = attempts.iter().filter(|row| row.last() != Some(&"f")).collect();
    assert!(allowed.is_empty(), "{allowed:?}");
    let members = database.sql(
        "select m.rolname, r.rolname from pg_auth_members g join pg_roles r on r.oid = g.roleid \
         join pg_roles m on m.oid = g.member \
         where m.rolname in ('fiatrails_gateway', 'fiatrails_callback', 'fiatrails_executor', 'fiatrails_ops')",
    );
    assert_eq!(members.unwrap(), "", "a role has another's rights");
}
