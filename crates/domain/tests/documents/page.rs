use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Tests that write parts of one page run at the same time.
static WRITING: Mutex<()> = Mutex::new(());

fn file(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(page)
}

/// The text of a page.
pub fn text(page: &str) -> String {
    std::fs::read_to_string(file(page)).unwrap_or_else(|error| panic!("docs/{page}: {error}"))
}

/// Fails unless the named part of the page is what the code says.
pub fn assert_part(page: &str, part: &str, expected: &str) {
    // Poisoned by a part that is out of date: the others are compared all the same.
    let _writing = WRITING.lock();
    let (mut whole, start) = (text(page), format!("<!-- generated: {part} -->\n"));
    let from = whole
        .find(&start)
        .unwrap_or_else(|| panic!("docs/{page} has no part {part:?}"))
        + start.len();
    let to = from + whole[from..].find("<!-- end -->").unwrap();
    let current = whole[from..to] == *expected;
    if !current && std::env::var_os("UPDATE_DOCS").is_some() {
        whole.replace_range(from..to, expected);
        std::fs::write(file(page), whole).unwrap();
    } else {
        assert!(
            current,
            "docs/{page}, {part}: out of date; run UPDATE_DOCS=1 cargo test -p domain --test documents"
        );
    }
}
