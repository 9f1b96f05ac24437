//! Texts that are held against committed files.

use std::path::Path;

/// Holds a text against the file `tests/golden/NAME.txt` of the crate whose folder is given, or
/// writes it there with `STEER_BLESS=1`.
///
/// # Panics
/// They differ, or there is no such file.
pub fn assert_golden(manifest_dir: &str, name: &str, shown: &str) {
    let path = Path::new(manifest_dir).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("STEER_BLESS").is_some() {
        std::fs::write(&path, shown).expect("the crate's folder can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, golden, "{}", path.display());
}
