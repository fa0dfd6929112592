//! What a process has cost so far, as `/proc` tells it.

use super::Measured;
use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, Timespec, clock_gettime},
};

/// Words before the times in `/proc/PID/stat`, behind the name.
const BEFORE_TIMES: usize = 11;

/// CPU time, context switches and memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time of all threads and of the children that it has waited for, in seconds.
    pub cpu_seconds: f64,
    /// Context switches of the threads that live.
    pub switches: u64,
    /// The most memory it ever held, in KiB.
    pub peak_rss_kib: u64,
    /// The memory it holds, in KiB.
    pub rss_kib: u64,
}

impl Usage {
    /// Of this process, to the nanosecond but for its children, which are counted in ticks.
    #[must_use]
    pub fn of_self() -> Self {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
        #[expect(clippy::cast_precision_loss, reason = "seconds of one process")]
        let own = tv_sec as f64 + tv_nsec as f64 / 1e9;
        let id = std::process::id();
        let [.., children] = times(id).unwrap_or_default();
        Self {
            cpu_seconds: own + children,
            ..Self::beside_cpu(id)
        }
    }

    /// Of another process, in ticks of 10 ms; `None` when it has gone.
    #[must_use]
    pub fn of(id: u32) -> Option<Self> {
        let [own, children] = times(id)?;
        Some(Self {
            cpu_seconds: own + children,
            ..Self::beside_cpu(id)
        })
    }

    /// CPU seconds of the threads of a process that live, to the nanosecond: for what spends less
    /// than a tick. `None` when it has gone.
    #[must_use]
    pub fn run_seconds(id: u32) -> Option<f64> {
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).ok()?;
        let nanoseconds: u64 = threads
            .flatten()
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok())
            .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "seconds of one process")]
        let seconds = nanoseconds as f64 / 1e9;
        Some(seconds)
    }

    /// CPU seconds of the children that this process has waited for, in ticks of 10 ms.
    #[must_use]
    pub fn of_ended_children() -> f64 {
        let [_, children] = times(std::process::id()).unwrap_or_default();
        children
    }

    /// What has been added since an earlier look. Memory is as it is now.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            switches: self.switches.saturating_sub(before.switches),
            ..self
        }
    }

    /// As the cost of so many tasks in this time.
    #[must_use]
    pub fn measured(self, tasks: usize, seconds: f64) -> Measured {
        Measured {
            tasks,
            seconds,
            cpu_seconds: self.cpu_seconds,
            switches: self.switches,
            peak_rss_kib: self.peak_rss_kib,
            latency: None,
        }
    }

    fn beside_cpu(id: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let threads = std::fs::read_dir(format!("/proc/{id}/task"));
        let each = threads.into_iter().flatten().flatten().map(|thread| {
            let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            number(&status, "voluntary_ctxt_switches:")
                + number(&status, "nonvoluntary_ctxt_switches:")
        });
        Self {
            cpu_seconds: 0.0,
            switches: each.sum(),
            peak_rss_kib: number(&status, "VmHWM:"),
            rss_kib: number(&status, "VmRSS:"),
        }
    }
}

/// CPU seconds of a process, and those of its children that have ended.
pub(crate) fn times(id: u32) -> Option<[f64; 2]> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    read_times(&stat)
}

fn read_times(stat: &str) -> Option<[f64; 2]> {
    // The name before the bracket may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ').skip(BEFORE_TIMES);
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let ticks = clock_ticks_per_second() as f64;
    let mut next = || Some(words.next()?.parse::<u32>().ok().map(f64::from)? / ticks);
    let (user, system, user_children, system_children) = (next()?, next()?, next()?, next()?);
    Some([user + system, user_children + system_children])
}

/// The number of the line that begins so; 0 where there is none.
fn number(status: &str, name: &str) -> u64 {
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::until;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "12 (odd) R 1) S 1 1 1 0 -1 4194560 1 2 3 4 100 50 30 20 20 0 1 0 1 2 3";
        let ticks = 100.0 / clock_ticks_per_second() as f64;
        let times = read_times(stat).unwrap();
        assert!((times[0] - 1.5 * ticks).abs() < 1e-9, "{times:?}");
        assert!((times[1] - 0.5 * ticks).abs() < 1e-9, "{times:?}");
        assert_eq!(read_times("12 (gone"), None);
    }

    #[test]
    fn a_process_that_runs_holds_memory_and_one_that_has_gone_is_not_there() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let id = child.id();
        assert!(Usage::of(id).unwrap().peak_rss_kib > 0);
        // It may not have had its turn yet.
        until("a process that has run", || {
            Usage::run_seconds(id).unwrap() > 0.0
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((Usage::of(id), Usage::run_seconds(id)), (None, None));
    }
}
