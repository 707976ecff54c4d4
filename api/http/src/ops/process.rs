//! The process's own numbers, as the kernel tells them. Where there is no `/proc`, there are none.

use std::fmt::Write as _;
use std::fs;

/// Memory, open files and threads, as OpenMetrics text. Reading `/proc` takes microseconds and
/// waits for no disk.
pub(crate) fn encode() -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: Option<u64>| {
        if let Some(value) = value {
            let written =
                write!(text, "# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}\n");
            written.expect("a string takes everything");
        }
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = number(&status, "VmRSS:").map(|kib| kib * 1024);
    gauge("process_resident_memory_bytes", "Resident memory", resident);
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
    gauge("process_open_fds", "Open file descriptors", open);
    gauge("process_threads", "Threads", number(&status, "Threads:"));
    text
}

fn number(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_their_lines() {
        let status = "Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t7\n";
        assert_eq!(number(status, "VmRSS:"), Some(1234));
        assert_eq!(number(status, "Threads:"), Some(7));
        assert_eq!(number(status, "VmSwap:"), None);
    }
}
