//! Axes: which numbers a chart shows, where they lie between its edges, and how they are written.
//!
//! Powers of ten and their exponents are taken from numbers as they are written, not from
//! logarithms, whose last bits differ between machines.

/// Largest magnitude that can be shown, in the axis's unit.
const LARGEST: f64 = 1e15;

/// Smallest magnitude that is not nothing.
const SMALLEST: f64 = 1e-15;

/// About how many steps a linear axis is divided in.
const STEPS: f64 = 5.0;

/// Most ticks of a logarithmic axis; there can be one more where it ends.
const LOGARITHMIC_TICKS: i32 = 8;

/// What the numbers on an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Numbers of something, whole or not.
    Count,
    /// Seconds, shown as s, ms, µs or ns.
    Seconds,
    /// Bytes, shown as B, kB, MB, GB or TB: powers of 1,000.
    Bytes,
    /// Hundredths: 12.5 is shown as 12.5 %.
    Percent,
}

/// How numbers are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equally long.
    Linear,
    /// Equal ratios are equally long. Shows nothing that is not above 0.
    Logarithmic,
}

/// One axis of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What is shown along it.
    pub label: String,
    /// What its numbers are.
    pub unit: Unit,
    /// How they are spread.
    pub scale: Scale,
    /// Where its ticks are; if empty, the chart chooses.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// A linear axis that chooses its ticks.
    #[must_use]
    pub fn new(label: &str, unit: Unit) -> Self {
        Self {
            label: label.to_owned(),
            unit,
            scale: Scale::Linear,
            ticks: Vec::new(),
        }
    }

    /// The same axis, logarithmic.
    #[must_use]
    pub fn logarithmic(self) -> Self {
        let scale = Scale::Logarithmic;
        Self { scale, ..self }
    }

    /// The same axis with ticks at these numbers, which it then reaches at least to.
    #[must_use]
    pub fn with_ticks(self, ticks: &[f64]) -> Self {
        let ticks = ticks.to_vec();
        Self { ticks, ..self }
    }

    /// Whether the axis can show a number.
    pub(super) fn shows(&self, value: f64) -> bool {
        match self.scale {
            Scale::Linear => value.abs() <= LARGEST,
            Scale::Logarithmic => (SMALLEST..=LARGEST).contains(&value),
        }
    }

    /// The axis over the numbers that it can show; `from_zero` has a linear one start there.
    pub(super) fn fit(&self, values: impl IntoIterator<Item = f64>, from_zero: bool) -> Fitted {
        let values = values.into_iter().chain(self.ticks.iter().copied());
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| self.shows(*value)) {
            let value = if value.abs() < SMALLEST { 0.0 } else { value };
            (low, high) = (low.min(value), high.max(value));
        }
        let mut fitted = match self.scale {
            Scale::Linear => linear(low, high, from_zero, self.unit),
            Scale::Logarithmic => logarithmic(low, high, self.unit),
        };
        if !self.ticks.is_empty() {
            let given = self.ticks.iter().copied().filter(|tick| self.shows(*tick));
            fitted.ticks = given.map(|tick| (tick, shown(tick, self.unit))).collect();
        }
        fitted
    }
}

/// An axis with its ends and its ticks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fitted {
    low: f64,
    high: f64,
    scale: Scale,
    /// Numbers, all between the ends, and how they are written.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Fitted {
    /// Where a number that the axis shows lies: 0 at its lower end, 1 at its upper one.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        place.clamp(0.0, 1.0)
    }
}

fn linear(low: f64, high: f64, from_zero: bool, unit: Unit) -> Fitted {
    let (mut low, mut high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    // Zero is shown also where it is near, and where there would be nothing between the ends.
    if from_zero || low == high || low > 0.0 && low <= high / 2.0 {
        (low, high) = (low.min(0.0), high.max(0.0));
    }
    if low == high {
        high = 1.0;
    }
    let rough = (high - low) / STEPS;
    let exponent = exponent(rough);
    let steps = [(1, 0), (2, 0), (5, 0), (1, 1), (2, 1)];
    let mut steps = steps
        .map(|(digit, more)| scaled(digit, exponent + more))
        .into_iter();
    let step = steps.find(|step| *step >= rough).unwrap_or(rough);
    let (first, last) = ((low / step).floor(), (high / step).ceil());
    let ends = (first * step, last * step);
    let (size, suffix) = part(ends.0.abs().max(ends.1.abs()), unit);
    let decimals = usize::try_from(-self::exponent(step / size)).unwrap_or(0);
    let mut ticks = Vec::new();
    let mut index = first;
    while index <= last {
        let value = index * step;
        let text = written(value / size, decimals);
        ticks.push((value, format!("{text}{suffix}")));
        index += 1.0;
    }
    Fitted {
        low: ends.0,
        high: ends.1,
        scale: Scale::Linear,
        ticks,
    }
}

/// The ladder 1, 2, 5, 10, 20, 50, ... in both directions, by number: 0 is 1.
fn rung(number: i32) -> f64 {
    let digit = [1, 2, 5][usize::try_from(number.rem_euclid(3)).unwrap_or(0)];
    scaled(digit, number.div_euclid(3))
}

fn logarithmic(low: f64, high: f64, unit: Unit) -> Fitted {
    let (low, high) = if low <= high {
        (low, high)
    } else {
        (1.0, 10.0)
    };
    let mut from = 3 * exponent(low);
    while rung(from + 1) <= low {
        from += 1;
    }
    let mut to = from;
    while rung(to) < high {
        to += 1;
    }
    if from == to {
        (from, to) = (from - 1, to + 1);
    }
    let decades = (to - from) / 3;
    let every = if to - from < LOGARITHMIC_TICKS {
        1
    } else {
        3 * (decades + LOGARITHMIC_TICKS - 1).div_euclid(LOGARITHMIC_TICKS)
    };
    let ticks = (from..=to).filter(|number| number.rem_euclid(every) == 0);
    Fitted {
        low: rung(from),
        high: rung(to),
        scale: Scale::Logarithmic,
        ticks: ticks
            .map(|number| (rung(number), shown(rung(number), unit)))
            .collect(),
    }
}

/// A number with its unit, to four digits.
pub(in crate::report) fn shown(value: f64, unit: Unit) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let (size, suffix) = part(value.abs(), unit);
    let value = value / size;
    let decimals = usize::try_from(3 - exponent(value)).unwrap_or(0);
    let text = written(value, decimals.min(9));
    let trimmed = match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{trimmed}{suffix}")
}

/// The part or multiple of a unit in which a magnitude is written, and what is put behind it.
fn part(magnitude: f64, unit: Unit) -> (f64, &'static str) {
    const SECONDS: [(f64, &str); 4] = [(1.0, " s"), (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns")];
    const BYTES: [(f64, &str); 5] = [
        (1e12, " TB"),
        (1e9, " GB"),
        (1e6, " MB"),
        (1e3, " kB"),
        (1.0, " B"),
    ];
    let parts: &[(f64, &str)] = match unit {
        Unit::Count => return (1.0, ""),
        Unit::Percent => return (1.0, " %"),
        Unit::Seconds => &SECONDS,
        Unit::Bytes => &BYTES,
    };
    let nothing = if unit == Unit::Seconds {
        (1.0, " s")
    } else {
        (1.0, " B")
    };
    let found = parts.iter().find(|(size, _)| magnitude >= *size);
    match found {
        Some(part) => *part,
        None if magnitude == 0.0 || unit == Unit::Bytes => nothing,
        None => (1e-9, " ns"),
    }
}

/// A number with so many decimals, and commas between thousands; very large and very small ones
/// as 1.5e9.
fn written(value: f64, decimals: usize) -> String {
    let magnitude = value.abs();
    if magnitude >= 1e9 || (magnitude > 0.0 && magnitude < 1e-4) {
        let text = format!("{value:.2e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        return format!("{digits}e{exponent}");
    }
    let text = format!("{magnitude:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let is_nothing = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let mut grouped = String::new();
    if value < 0.0 && !is_nothing {
        grouped.push('−');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// The number that is written `<digit>e<exponent>`, exactly.
fn scaled(digit: i32, exponent: i32) -> f64 {
    let text = format!("{digit}e{exponent}");
    text.parse().expect("a digit with an exponent is a number")
}

/// The exponent that a number is written with: 2 for 100 and for 999.
fn exponent(value: f64) -> i32 {
    let text = format!("{value:e}");
    let exponent = text
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok());
    exponent.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: &Axis, values: &[f64]) -> Vec<String> {
        let fitted = axis.fit(values.iter().copied(), true);
        fitted.ticks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn linear_ticks_are_round_numbers_of_one_unit() {
        let count = Axis::new("", Unit::Count);
        assert_eq!(ticks(&count, &[1234.0]), ["0", "500", "1,000", "1,500"]);
        assert_eq!(
            ticks(&count, &[0.9]),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            ticks(&count, &[-3.0, 2.0]),
            ["−3", "−2", "−1", "0", "1", "2"]
        );
        let seconds = Axis::new("", Unit::Seconds);
        assert_eq!(
            ticks(&seconds, &[0.083]),
            ["0 ms", "20 ms", "40 ms", "60 ms", "80 ms", "100 ms"]
        );
        let bytes = Axis::new("", Unit::Bytes);
        assert_eq!(
            ticks(&bytes, &[2.4e6]),
            ["0.0 MB", "0.5 MB", "1.0 MB", "1.5 MB", "2.0 MB", "2.5 MB"]
        );
        let percent = Axis::new("", Unit::Percent);
        assert_eq!(
            ticks(&percent, &[100.0]),
            ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]
        );
    }

    #[test]
    fn logarithmic_ticks_are_ones_twos_and_fives_and_over_many_decades_powers_of_ten() {
        let count = Axis::new("", Unit::Count).logarithmic();
        assert_eq!(
            ticks(&count, &[3.0, 200.0]),
            ["2", "5", "10", "20", "50", "100", "200"]
        );
        assert_eq!(ticks(&count, &[10.0]), ["5", "10", "20"]);
        let seconds = Axis::new("", Unit::Seconds).logarithmic();
        assert_eq!(
            ticks(&seconds, &[0.002, 30.0]),
            ["10 ms", "100 ms", "1 s", "10 s"]
        );
        let all = ticks(&count, &[SMALLEST, LARGEST]);
        assert_eq!(all.first().map(String::as_str), Some("1e-12"));
        assert!(all.len() <= 9, "{all:?}");
    }

    #[test]
    fn given_ticks_are_those_that_are_shown_and_lie_on_the_axis() {
        let axis = Axis::new("", Unit::Count).logarithmic();
        let axis = axis.with_ticks(&[3.0, 10.0, 50.0, 200.0, 0.0]);
        let fitted = axis.fit([10.0], false);
        assert_eq!(ticks(&axis, &[10.0]), ["3", "10", "50", "200"]);
        let places: Vec<f64> = fitted
            .ticks
            .iter()
            .map(|(tick, _)| fitted.place(*tick))
            .collect();
        assert!(
            places.is_sorted() && places[0] > 0.0 && places[3] <= 1.0,
            "{places:?}"
        );
    }

    #[test]
    fn an_axis_without_numbers_and_one_of_equal_numbers_have_two_ends() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            for values in [
                &[][..],
                &[0.0],
                &[7.0, 7.0],
                &[f64::NAN, f64::INFINITY],
                &[-7.0],
            ] {
                for from_zero in [false, true] {
                    let axis = Axis {
                        scale,
                        ..Axis::new("", Unit::Count)
                    };
                    let fitted = axis.fit(values.iter().copied(), from_zero);
                    assert!(fitted.low < fitted.high, "{values:?} {fitted:?}");
                    assert!(fitted.ticks.len() >= 2, "{values:?} {fitted:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_are_written_to_four_digits_in_a_unit_that_suits_them() {
        let written = [
            (0.0, Unit::Seconds, "0 s"),
            (0.01234567, Unit::Seconds, "12.35 ms"),
            (3e-7, Unit::Seconds, "300 ns"),
            (4321.0, Unit::Seconds, "4,321 s"),
            (1_234_567.0, Unit::Count, "1,234,567"),
            (2.5e10, Unit::Count, "2.5e10"),
            (-0.5, Unit::Count, "−0.5"),
            (1e-9, Unit::Count, "1e-9"),
            (999.0, Unit::Bytes, "999 B"),
            (0.25, Unit::Bytes, "0.25 B"),
            (1500.0, Unit::Bytes, "1.5 kB"),
            (12.5, Unit::Percent, "12.5 %"),
            (f64::NAN, Unit::Count, "NaN"),
        ];
        for (value, unit, expected) in written {
            assert_eq!(shown(value, unit), expected);
        }
    }
}
