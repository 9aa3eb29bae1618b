//! Standard output and standard error.

use std::io::{Write as _, stderr, stdout};

/// Prints a line, at once. A reader that left (`| head`) is no reason to stop here.
pub(super) fn print(line: &str) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints bytes, at once; false when nobody reads them.
pub(super) fn emit(bytes: &[u8]) -> bool {
    let mut out = stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).is_ok()
}

/// Says on standard error, in one line, what went wrong.
pub(super) fn complain(why: &str) {
    let why = why.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    let _ = writeln!(stderr().lock(), "crossdock: {why}");
}
