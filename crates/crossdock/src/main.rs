//! The broker's program.

use std::ffi::c_long;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, which its bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Memory that was freed goes back to the system after so long. At the allocator's own second, half as
/// much again as is in use stays with a broker that reads a long backlog.
const PURGE_DELAY_MS: c_long = 100;

fn main() -> ExitCode {
    give_memory_back_soon();
    crossdock::cli::run()
}

/// Leaves alone what `MIMALLOC_PURGE_DELAY` says.
#[expect(unsafe_code, reason = "the allocator's options are in its C library")]
fn give_memory_back_soon() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: sets a number that the allocator reads, before there is a second thread.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) }
    }
}
