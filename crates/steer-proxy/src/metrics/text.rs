//! The text format 0.0.4 of Prometheus
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
use std::fmt::{Display, Write};

use super::families::Family;
use super::histogram::Histogram;

/// A page as it is written.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// Begins a family.
    pub(super) fn family(&mut self, family: &Family) {
        let Family {
            name, kind, help, ..
        } = family;
        let kind = kind.name();
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Writes one value of the family that was begun.
    pub(super) fn sample(&mut self, family: &Family, values: &[&str], value: u64) {
        self.line(family.name, family.labels, values, value);
    }

    /// Writes a family that is one histogram.
    pub(super) fn histogram(&mut self, family: &Family, histogram: &Histogram) {
        self.family(family);
        let (buckets, total, sum) = histogram.read();
        let bucket = format!("{}_bucket", family.name);
        for (bound, count) in buckets {
            self.line(&bucket, &["le"], &[&bound], count);
        }
        self.line(&bucket, &["le"], &["+Inf"], total);
        self.line(&format!("{}_sum", family.name), &[], &[], sum);
        self.line(&format!("{}_count", family.name), &[], &[], total);
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, name: &str, labels: &[&str], values: &[&str], value: impl Display) {
        debug_assert_eq!(labels.len(), values.len(), "{name}");
        self.0.push_str(name);
        if !labels.is_empty() {
            let mut joint = '{';
            for (label, value) in labels.iter().zip(values) {
                self.put(format_args!("{joint}{label}=\"{}\"", Escaped(value)));
                joint = ',';
            }
            self.0.push('}');
        }
        self.put(format_args!(" {value}\n"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes everything");
    }
}

/// The value of a label inside quotes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_label_cannot_leave_its_quotes() {
        let escaped = Escaped("a\"} 1\nb \\ ä").to_string();
        assert_eq!(escaped, r#"a\"} 1\nb \\ ä"#);
    }
}
