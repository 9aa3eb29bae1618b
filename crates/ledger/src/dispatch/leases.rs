//! Who holds which message: pages of 64 offsets, since what is in flight lies close together.

use crate::Span;
use std::collections::BTreeMap;
use types::Offset;

const PAGE_SHIFT: u32 = 6;
const PAGE_LEN: i64 = 1 << PAGE_SHIFT;

/// Empty pages kept for use again.
const SPARE_PAGES_MAX: usize = 16;

/// One delivery under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lease {
    /// The slot of who holds it.
    pub(super) holder: u32,
    /// Length of the record.
    pub(super) bytes: u32,
    /// 1 at the first delivery.
    pub(super) attempt: u16,
}

/// Leases by offset, one at most for each.
#[derive(Debug, Default)]
pub(super) struct Leases {
    pages: BTreeMap<i64, Box<Page>>,
    #[expect(clippy::vec_box, reason = "the boxes go back into the map as they are")]
    spare: Vec<Box<Page>>,
    len: u64,
}

#[derive(Debug)]
struct Page {
    /// One bit for each slot in use.
    used: u64,
    slots: [Lease; PAGE_LEN as usize],
}

impl Leases {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Notes the lease of an offset that has none.
    pub(super) fn insert(&mut self, offset: Offset, lease: Lease) {
        let (key, at) = (offset.0 >> PAGE_SHIFT, slot(offset));
        let spare = &mut self.spare;
        let page = self.pages.entry(key).or_insert_with(|| spare.pop().unwrap_or_else(Page::empty));
        debug_assert!(page.used & 1 << at == 0, "leased twice: {offset}");
        page.used |= 1 << at;
        page.slots[at] = lease;
        self.len += 1;
    }

    /// Ends the leases in `span` that `wanted` picks; each is given to `ended`, in order.
    pub(super) fn take(
        &mut self,
        span: Span,
        wanted: impl Fn(Lease) -> bool,
        mut ended: impl FnMut(Offset, Lease),
    ) {
        if span.is_empty() {
            return;
        }
        let last = Offset(span.end.0 - 1);
        let (first_key, last_key) = (span.first.0 >> PAGE_SHIFT, last.0 >> PAGE_SHIFT);
        let (low, high) = (slot(span.first), slot(last));
        if first_key == last_key {
            let Some(page) = self.pages.get_mut(&first_key) else { return };
            self.len -= page.take((first_key, low, high), &wanted, &mut ended);
            if page.used == 0 {
                self.drop_page(first_key);
            }
            return;
        }
        let mut emptied = Vec::new();
        for (&key, page) in self.pages.range_mut(first_key..=last_key) {
            let low = if key == first_key { low } else { 0 };
            let high = if key == last_key { high } else { PAGE_LEN as usize - 1 };
            self.len -= page.take((key, low, high), &wanted, &mut ended);
            if page.used == 0 {
                emptied.push(key);
            }
        }
        for key in emptied {
            self.drop_page(key);
        }
    }

    fn drop_page(&mut self, key: i64) {
        // The newest page is about to be filled again.
        if self.pages.last_key_value().is_none_or(|(&newest, _)| newest == key) {
            return;
        }
        if let Some(page) = self.pages.remove(&key)
            && self.spare.len() < SPARE_PAGES_MAX
        {
            self.spare.push(page);
        }
    }
}

impl Page {
    fn empty() -> Box<Page> {
        Box::new(Page { used: 0, slots: [Lease::default(); PAGE_LEN as usize] })
    }

    /// Ends the leases from slot `low` to `high` that `wanted` picks; gives how many.
    fn take(
        &mut self,
        (key, low, high): (i64, usize, usize),
        wanted: &impl Fn(Lease) -> bool,
        ended: &mut impl FnMut(Offset, Lease),
    ) -> u64 {
        let mut count = 0;
        let mut candidates = self.used & (u64::MAX << low) & (u64::MAX >> (63 - high));
        while candidates != 0 {
            let at = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            let lease = self.slots[at];
            if wanted(lease) {
                self.used &= !(1 << at);
                count += 1;
                ended(Offset((key << PAGE_SHIFT) + at as i64), lease);
            }
        }
        count
    }
}

fn slot(offset: Offset) -> usize {
    usize::try_from(offset.0 & (PAGE_LEN - 1)).expect("masked to 6 bits")
}
