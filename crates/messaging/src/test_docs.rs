//! Generated documents: compared with what is committed, rewritten when `UPDATE_DOCS=1`.

use std::path::Path;

pub(crate) fn assert_committed(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, expected).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == expected,
        "docs/{path} is out of date; run UPDATE_DOCS=1 cargo test -p messaging --lib"
    );
}

pub(crate) fn committed(path: &str) -> String {
    std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs")
            .join(path),
    )
    .unwrap()
}
