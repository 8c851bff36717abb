//! The list of all SQL statements. A macro keeps it, so that no statement can be forgotten.

/// Declares the SQL constants of one module and lists them in its `STATEMENTS`.
macro_rules! statements {
    ($($(#[$attr:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$attr])* const $name: &str = $sql;)+

        /// Name and text of every statement of this module.
        pub(crate) const STATEMENTS: &[(&str, &str)] =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name)),+];
    };
}

/// Every statement that any module can send; modules that use `statements!` are listed here.
pub fn all() -> Vec<(&'static str, &'static str)> {
    let modules: &[&[(&str, &str)]] = &[
        crate::clock::STATEMENTS,
        crate::fate::STATEMENTS,
        crate::halts::STATEMENTS,
        crate::inbox::STATEMENTS,
        crate::key_usage::STATEMENTS,
        crate::migrate::STATEMENTS,
        crate::outbox::STATEMENTS,
    ];
    let rooms = crate::gateway::STATEMENTS;
    modules
        .iter()
        .chain(rooms)
        .chain(crate::callback::STATEMENTS)
        .chain(crate::executor::STATEMENTS)
        .chain(crate::ops::STATEMENTS)
        .flat_map(|module| module.iter().copied())
        .collect()
}
