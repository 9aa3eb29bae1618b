//! Prometheus' text format.

use std::fmt::Write as _;

/// A page of metrics.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

/// The samples of one metric.
#[derive(Debug)]
pub(super) struct Family<'a> {
    out: &'a mut String,
    name: String,
}

impl Exposition {
    /// Begins a metric that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, "gauge")
    }

    /// Begins a metric that only rises; its name ends in `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, "counter")
    }

    /// Begins a distribution.
    pub(super) fn histogram(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, "histogram")
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) -> Family<'_> {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { out: &mut self.0, name: name.to_owned() }
    }
}

impl Family<'_> {
    /// One value.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: u64) {
        self.out.push_str(&self.name);
        for (place, (label, value)) in labels.iter().enumerate() {
            self.out.push(if place == 0 { '{' } else { ',' });
            self.out.push_str(label);
            self.out.push_str("=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    other => self.out.push(other),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    /// How many were at most `bound`.
    pub(super) fn bucket(&mut self, bound: &str, count: u64) {
        let _ = writeln!(self.out, "{}_bucket{{le=\"{bound}\"}} {count}", self.name);
    }

    /// The distribution's sum and count.
    pub(super) fn close(mut self, sum: f64, count: u64) {
        self.bucket("+Inf", count);
        let _ = writeln!(self.out, "{}_sum {sum}\n{}_count {count}", self.name, self.name);
    }
}

#[cfg(test)]
mod tests;
