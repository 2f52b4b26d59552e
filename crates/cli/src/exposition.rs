//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Grows from 0; begins at 0 again when the ring, the group or the consumer is created anew.
    Counter,
    /// A value of the moment.
    Gauge,
}

/// One metric, with all its samples: the format wants them together.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<(String, f64)>,
}

/// Metrics, in the order in which they came up first.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    families: Vec<Family>,
}

impl Exposition {
    /// Adds a sample. A counter's name ends in `_total`.
    pub(crate) fn sample(
        &mut self,
        (name, kind, help): (&'static str, Kind, &'static str),
        labels: &[(&str, &str)],
        value: f64,
    ) {
        debug_assert_eq!(kind == Kind::Counter, name.ends_with("_total"), "{name}");
        let at = self.families.iter().position(|family| family.name == name).unwrap_or_else(|| {
            self.families.push(Family { name, help, kind, samples: Vec::new() });
            self.families.len() - 1
        });
        let mut text = String::new();
        for (label, value) in labels {
            let separator = if text.is_empty() { "" } else { "," };
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(text, "{separator}{label}=\"{value}\"");
        }
        self.families[at].samples.push((text, value));
    }

    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for Family { name, help, kind, samples } in &self.families {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{{{labels}}} {value}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_metric_stand_together_and_labels_are_escaped() {
        let mut metrics = Exposition::default();
        let (a, b) = (("a_total", Kind::Counter, "As."), ("b_bytes", Kind::Gauge, "Bs."));
        metrics.sample(a, &[("ring", "x")], 1.0);
        metrics.sample(b, &[("ring", "a\"b\\c\nd"), ("n", "1")], 0.5);
        metrics.sample(a, &[("ring", "y")], 2.0);
        let expected = "# HELP a_total As.\n# TYPE a_total counter\na_total{ring=\"x\"} 1\na_total{ring=\"y\"} 2\n\
                        # HELP b_bytes Bs.\n# TYPE b_bytes gauge\nb_bytes{ring=\"a\\\"b\\\\c\\nd\",n=\"1\"} 0.5\n";
        assert_eq!(metrics.render(), expected);
    }
}
