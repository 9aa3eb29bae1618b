//! Several results that make one reply.

/// Collects a fixed number of results, in any order.
#[derive(Clone, Debug)]
pub struct Gather<T> {
    results: Vec<Option<T>>,
    missing: usize,
}

impl<T> Gather<T> {
    /// Waits for `count` results, numbered from 0.
    #[must_use]
    pub fn new(count: usize) -> Gather<T> {
        Gather { results: std::iter::repeat_with(|| None).take(count).collect(), missing: count }
    }

    /// Puts result number `index`; true when none is missing any more. A second result of the same
    /// number, or one beyond the count, changes nothing.
    pub fn put(&mut self, index: usize, result: T) -> bool {
        if let Some(place @ None) = self.results.get_mut(index) {
            *place = Some(result);
            self.missing -= 1;
        }
        self.complete()
    }

    /// Whether none is missing.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.missing == 0
    }

    /// The results in the order of their numbers; those still missing are left out.
    #[must_use]
    pub fn into_results(self) -> Vec<T> {
        self.results.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests;
