//! Generated documents: compared with what is committed, rewritten when `UPDATE_DOCS=1`.

use std::path::Path;
use std::sync::Mutex;

/// Tests that write parts of one page run at the same time.
static WRITING: Mutex<()> = Mutex::new(());

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

/// The same for one part of a page, between `generated` and `end`.
pub(crate) fn assert_part(page: &str, part: &str, expected: &str) {
    // Poisoned by a part that is out of date: the others are compared all the same.
    let _writing = WRITING.lock();
    let (mut whole, start) = (committed(page), format!("<!-- generated: {part} -->\n"));
    let from = whole
        .find(&start)
        .unwrap_or_else(|| panic!("docs/{page} has no part {part:?}"))
        + start.len();
    let to = from + whole[from..].find("<!-- end -->").unwrap();
    whole.replace_range(from..to, expected);
    assert_committed(page, &whole);
}

pub(crate) fn committed(path: &str) -> String {
    std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs")
            .join(path),
    )
    .unwrap()
}
