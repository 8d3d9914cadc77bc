//! The processes of a measurement, the cores they run on, and the processor time they have used.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Linux tells processor time in hundredths of a second, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process and of its threads, past ones included, in seconds.
pub fn processor_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The second field is the program's name in parentheses, and may contain anything.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<f64>().ok()).context("/proc/PID/stat");
    Ok((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Resident memory of a process in MiB.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// Where a process runs: what is measured has a core of its own, where the machine has two and `taskset` is installed.
#[derive(Clone, Copy, Debug)]
pub enum Core {
    Measured,
    Load,
}

/// Whether processes can be kept on cores.
pub fn can_pin() -> bool {
    std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2)
        && Command::new("taskset").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn command(program: &Path, core: Core) -> Command {
    if !can_pin() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", if matches!(core, Core::Measured) { "0" } else { "1" }]).arg(program);
    command
}

/// A process that ends with this one: its standard input is our hand.
#[derive(Debug)]
pub struct Running {
    child: Child,
    ends_with_its_input: bool,
}

impl Running {
    /// Starts a server that says nothing.
    pub fn server(program: &Path, arguments: &[&str], log: &Path, core: Core) -> anyhow::Result<Self> {
        let log = std::fs::File::create(log)?;
        let child = command(program, core)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Self { child, ends_with_its_input: true })
    }

    /// Says that this program does not read its standard input, and must be told to end.
    pub fn that_ignores_its_input(mut self) -> Self {
        self.ends_with_its_input = false;
        self
    }

    /// Starts this program in another role, with its orders as JSON; the first line it prints is its answer.
    pub fn role<O: Serialize, A: DeserializeOwned>(role: &str, orders: &O, core: Core) -> anyhow::Result<(Self, A)> {
        let program = std::env::current_exe()?;
        let mut child = command(&program, core).args(["--role", role]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = serde_json::to_string(orders)?;
        line.push('\n');
        child.stdin.as_mut().context("standard input")?.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(child.stdout.take().context("standard output")?).read_line(&mut answer)?;
        match serde_json::from_str(&answer) {
            Ok(answer) => Ok((Self { child, ends_with_its_input: true }, answer)),
            Err(_) => bail!("the {role} process failed: {:?}", child.wait()),
        }
    }

    /// `taskset` becomes the program it starts, so this is the program's own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, which a server should not.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("a server ended: {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // An orderly end: a profiler around the program writes down what it has seen.
        for _ in 0..if self.ends_with_its_input { 100 } else { 0 } {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(50)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a role is told, from standard input.
pub fn orders<O: DeserializeOwned>() -> anyhow::Result<O> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// What a role answers, to standard output.
pub fn answer<A: Serialize>(answer: &A) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    std::io::stdout().lock().write_all(line.as_bytes())?;
    Ok(())
}

/// Waits until whoever started this role lets go.
pub fn until_released() {
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
}
