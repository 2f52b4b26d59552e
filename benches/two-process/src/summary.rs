//! From many repetitions to one figure.

use crate::record::Record;
use crate::run::Measure;

/// The system that the others are compared with.
pub(crate) const FLOOR: &str = "floor";
/// The floor of round trips without a message.
pub(crate) const ONE_WORD: &str = "one-word";

/// One figure over all repetitions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// The median of the ratios to the floor of the same repetition.
    pub(crate) ratio: Option<f64>,
    /// The same to [`ONE_WORD`].
    pub(crate) to_one_word: Option<f64>,
}

/// The results of one measure for messages of one size.
#[derive(Clone, Debug)]
pub(crate) struct Series<'r> {
    records: Vec<&'r Record>,
}

impl<'r> Series<'r> {
    /// Picks them.
    pub(crate) fn of(records: &'r [Record], measure: Measure, size: usize) -> Series<'r> {
        let is_one = |record: &&Record| record.measure == measure && record.size == size;
        Series { records: records.iter().filter(is_one).collect() }
    }

    /// The systems in it, in the order in which they were measured.
    pub(crate) fn systems(&self) -> Vec<&'r Record> {
        let mut found: Vec<&Record> = Vec::new();
        for record in &self.records {
            if found.iter().all(|known| known.system != record.system) {
                found.push(record);
            }
        }
        found
    }

    /// The figure of a system: the mean of its middle half, or its time per message.
    pub(crate) fn figure(&self, system: &str) -> Option<Figure> {
        let figures = self.values(system, |record| record.outcome.figure());
        let ratio_to = |floor: &str| {
            let ratio = |(rep, figure): &(u32, f64)| {
                let is_it = |record: &&&Record| record.rep == *rep && record.system == floor;
                Some(figure / self.records.iter().find(is_it)?.outcome.figure()?)
            };
            median(&figures.iter().filter_map(ratio).collect::<Vec<f64>>())
        };
        let values: Vec<f64> = figures.iter().map(|(_, value)| *value).collect();
        Some(Figure {
            median: median(&values)?,
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
            most: values.iter().copied().fold(0.0, f64::max),
            ratio: ratio_to(FLOOR),
            to_one_word: ratio_to(ONE_WORD),
        })
    }

    /// The median over the repetitions of what this share, in percent, did not exceed; nothing if a
    /// repetition was too short to tell.
    pub(crate) fn percentile(&self, system: &str, share: f64) -> Option<f64> {
        let values = self.values(system, |record| record.outcome.percentile(share));
        if values.len() < self.values(system, |record| record.outcome.figure()).len() {
            return None;
        }
        median(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>())
    }

    /// The shares that are known of a system.
    pub(crate) fn shares(&self, system: &str) -> Vec<f64> {
        let record = self.records.iter().find(|record| record.system == system);
        record
            .map_or(Vec::new(), |record| record.outcome.percentiles.iter().map(|(share, _)| *share).collect())
    }

    fn values(&self, system: &str, value: impl Fn(&Record) -> Option<f64>) -> Vec<(u32, f64)> {
        let own = self.records.iter().filter(|record| record.system == system);
        own.filter_map(|record| Some((record.rep, value(record)?))).collect()
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}
