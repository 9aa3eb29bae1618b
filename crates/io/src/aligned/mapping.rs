//! Memory straight from the kernel, in huge pages where it gives them.

#![expect(unsafe_code, reason = "memory that the allocator does not know")]

use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

const HUGE_BYTES: usize = 2 << 20;

/// Private memory of whole huge pages, zeroed, unmapped when dropped.
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    /// What was mapped, to find a huge page's boundary in.
    whole: NonNull<u8>,
    whole_len: usize,
}

// SAFETY: the memory belongs to this value alone, as that of a `Box<[u8]>` does.
unsafe impl Send for Mapping {}

// SAFETY: shared, it can only be read.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// At least `len` zero bytes. An error when the kernel has no more memory to map.
    pub(super) fn zeroed(len: usize) -> io::Result<Mapping> {
        let len = len.max(1).next_multiple_of(HUGE_BYTES);
        let whole_len = len + HUGE_BYTES;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let whole = unsafe { mmap_anonymous(ptr::null_mut(), whole_len, protection, flags) }?;
        let whole = NonNull::new(whole.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let before = whole.align_offset(HUGE_BYTES);
        // SAFETY: `before` is less than a huge page, by which the mapping is longer than `len`.
        let start = unsafe { whole.add(before) };
        let mapping = Mapping { start, len, whole, whole_len };
        // SAFETY: the range lies in the mapping, and this advice changes no contents. Where huge
        // pages are refused, small ones do.
        let _ = unsafe { madvise(start.as_ptr().cast(), len, Advice::LinuxHugepage) };
        Ok(mapping)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` are mapped, were zeroed by the kernel, and live as long
        // as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: what was mapped is given back once, and no slice of it outlives `self`.
        let given_back = unsafe { munmap(self.whole.as_ptr().cast(), self.whole_len) };
        debug_assert!(given_back.is_ok(), "the mapping is its own");
    }
}
