//! The members of a cluster, each in a process of its own, as their parent sees them.
//!
//! Owns the processes, their directories, and the kernel's figures of them. What always holds: a member answers each line
//! with one; a process ends with its [`Member`], and its directory with the [`Cluster`]. What a member does with a line is
//! left to the benchmark.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// Makes the program one member.
pub const MEMBER_FLAG: &str = "--member";

/// Three members and where they live.
pub struct Cluster {
    directory: TempDir,
    members: String,
    /// Options as `name=value`.
    options: Vec<String>,
}

impl Cluster {
    pub fn new(options: &[&str]) -> Self {
        let directory = TempDir::with_prefix_in("catch-up-", disk()).expect("the disk is writable");
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback")).collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let members =
            listeners.iter().zip(1..).map(|(listener, node)| format!("{node}={}", address(listener)));
        Self {
            directory,
            members: members.collect::<Vec<_>>().join(","),
            options: options.iter().map(ToString::to_string).collect(),
        }
    }

    pub fn start(&self, node: u64) -> Member {
        let program = std::env::current_exe().expect("Linux knows the path");
        let mut command = Command::new(program);
        command.arg(MEMBER_FLAG).arg(node.to_string()).arg(&self.members);
        command.arg(self.directory.path().join(node.to_string())).args(&self.options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("this program can be started again");
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut member = Member { process, input, output };
        member.hear();
        member
    }
}

/// A member, as its parent sees it.
pub struct Member {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Memory in MiB.
pub struct Memory {
    pub resident: f64,
    pub peak: f64,
    /// The part that maps files.
    pub file: f64,
}

impl Member {
    pub fn ask(&mut self, question: &str) -> String {
        writeln!(self.input, "{question}").expect("the member runs");
        self.hear()
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a readable pipe");
        assert!(line.ends_with('\n'), "the member has failed; its errors are above");
        line.trim().to_owned()
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.process.id().to_string()).join(file)
    }

    pub fn forget_peak(&self) {
        fs::write(self.proc("clear_refs"), "5").expect("it is a process of this user");
    }

    pub fn memory(&self) -> Memory {
        let status = fs::read_to_string(self.proc("status")).expect("the member runs");
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says it");
            line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<f64>().expect("a number of KiB") / 1024.0
        };
        Memory { resident: mib("VmRSS:"), peak: mib("VmHWM:"), file: mib("RssFile:") }
    }

    pub fn cpu_s(&self) -> f64 {
        let tasks = fs::read_dir(self.proc("task")).expect("the member runs");
        let nanos = tasks.filter_map(|task| {
            let stat = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<f64>().ok()
        });
        nanos.sum::<f64>() / 1e9
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Its directory goes with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where the members' files are.
pub fn disk() -> PathBuf {
    std::env::var_os("ALMADIA_BENCH_DIR").map_or(env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
}
