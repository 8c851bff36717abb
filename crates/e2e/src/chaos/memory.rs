//! Measures the resident memory of the services and tells whether it grows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

/// No slope is computed for a process that lived shorter than this.
const SLOPE_FROM: Duration = Duration::from_mins(1);
/// Caches and pools may still be filling in a process that lived shorter than this.
const JUDGED_FROM: Duration = Duration::from_mins(5);
/// KiB per minute. Noise and fragmentation stay below this; a leak per intent does not.
const MAX_SLOPE: f64 = 512.0;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    pub peak_kib: u64,
    /// Over the longest life of the process, without its first third; `None` if that was short.
    pub kib_per_minute: Option<f64>,
    pub longest_life_seconds: f64,
}

impl Memory {
    pub fn grows(&self) -> bool {
        self.longest_life_seconds >= JUDGED_FROM.as_secs_f64()
            && self.kib_per_minute.is_some_and(|slope| slope > MAX_SLOPE)
    }
}

/// Samples of one service, one list for each of its processes.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<u32, Vec<(Instant, u64)>>);

impl Samples {
    pub fn take(&mut self, pid: u32) {
        if let Some(kib) = resident_kib(pid) {
            self.0.entry(pid).or_default().push((Instant::now(), kib));
        }
    }

    pub fn summary(&self) -> Memory {
        let peak_kib = self.0.values().flatten().map(|(_, kib)| *kib).max().unwrap_or(0);
        let length = |life: &&Vec<(Instant, u64)>| match (life.first(), life.last()) {
            (Some(first), Some(last)) => last.0 - first.0,
            _ => Duration::ZERO,
        };
        let longest = self.0.values().max_by_key(length);
        Memory {
            peak_kib,
            kib_per_minute: longest
                .filter(|life| length(life) >= SLOPE_FROM)
                .and_then(|life| slope(life)),
            longest_life_seconds: longest.as_ref().map_or(0.0, |life| length(life).as_secs_f64()),
        }
    }
}

/// Least squares over the samples after the warm-up.
fn slope(life: &[(Instant, u64)]) -> Option<f64> {
    let warm = &life[life.len() / 3..];
    let begin = warm.first()?.0;
    let points: Vec<(f64, f64)> = warm
        .iter()
        .map(|(at, kib)| {
            (
                (*at - begin).as_secs_f64() / 60.0,
                f64::from(u32::try_from(*kib).unwrap_or(u32::MAX)),
            )
        })
        .collect();
    let count = f64::from(u32::try_from(points.len()).ok()?);
    let (sum_x, sum_y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (over, under) = points.iter().fold((0.0, 0.0), |(over, under), (x, y)| {
        (
            over + (x - mean_x) * (y - mean_y),
            under + (x - mean_x) * (x - mean_x),
        )
    });
    (under > 0.0).then(|| over / under)
}

fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_distinguished_from_noise_and_a_short_life_is_not_judged() {
        let begin = Instant::now();
        let life = |minutes: u64, grow: u64| -> Samples {
            let samples = (0..=minutes * 6)
                .map(|tick| {
                    (
                        begin + Duration::from_secs(tick * 10),
                        50_000 + grow * tick / 6 + tick % 2,
                    )
                })
                .collect();
            Samples(BTreeMap::from([(1, samples)]))
        };
        let grows = life(10, 600).summary().kib_per_minute.unwrap();
        assert!((590.0..610.0).contains(&grows), "{grows}");
        let judged = [life(10, 600), life(10, 400), life(4, 600)].map(|life| life.summary().grows());
        assert_eq!(judged, [true, false, false], "much, little, too short to say");
        let flat = life(10, 0).summary().kib_per_minute.unwrap();
        assert!(flat.abs() < 1.0, "{flat}");
        assert_eq!(life(0, 600).summary().kib_per_minute, None);
        assert!(resident_kib(std::process::id()).unwrap() > 1000);
    }
}
