//! `--version -v`: everything that decides what this program computes.

use rbees_check::bench::{CANDLE, machine};
use rbees_check::{Result, models};

use super::paint::Out;
use super::verdicts;

/// The commit that this program was built from, as the build script found it.
pub const COMMIT: &str = env!("RBEES_COMMIT");

/// The models that are compiled in, with their references.
const COMPILED_IN: [&str; 2] = ["tiny-llama", "tiny-llama2"];

/// Whether the arguments ask for more than the version.
pub fn is_long(mut arguments: impl Iterator<Item = String>) -> bool {
    arguments.any(|argument| ["-v", "--verbose"].contains(&argument.as_str()))
}

/// Prints it.
///
/// # Errors
/// The references that are compiled in cannot be read, or standard output cannot be written.
pub fn print() -> Result<()> {
    Out::plain().text(&text()?)
}

/// One line each: version, commit, Candle, processor, references.
fn text() -> Result<String> {
    let mut text = format!(
        "rbees-check {}\ncommit      {COMMIT}\ncandle      {CANDLE}\nprocessor   {}\n",
        env!("CARGO_PKG_VERSION"),
        machine::processor()
    );
    for name in COMPILED_IN {
        let hash = verdicts::references(&models::fixture(name)?)?;
        text += &format!("references  {hash}  {name}\n");
    }
    Ok(text)
}
