// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Running other programs.
//!
//! A [`Cmd`] ends in one of three ways: it finishes, its time is up, or the user presses Ctrl-C.
//! In the last two cases the program and all its children are killed. An error names the whole
//! command line and the last lines that the program wrote, so that nobody has to guess.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a program may run unless told otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(5);
/// Lines of a program's output that an error repeats.
const ERROR_LINES: usize = 12;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static JOURNAL: Mutex<Option<File>> = Mutex::new(None);

/// Takes Ctrl-C, SIGTERM and SIGHUP as a wish to end in good order.
pub fn catch_signals() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst)).context("signal handler")
}

/// Whether the user wants to end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// From now on, every command line is also written to `path`.
pub fn start_journal(path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    *JOURNAL.lock().unwrap_or_else(|e| e.into_inner()) = Some(file);
    Ok(())
}

fn note(cmd: &Cmd) {
    if let Some(file) = JOURNAL.lock().unwrap_or_else(|e| e.into_inner()).as_mut() {
        // The journal is a help for readers; a full disk must not stop the work.
        let _ = writeln!(file, "{cmd}");
    }
}

/// One call of a program.
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    input: Vec<u8>,
    timeout: Duration,
    stoppable: bool,
}

/// What a program left behind.
pub struct Output {
    command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Cmd {
    /// A call without arguments.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().into(),
            args: Vec::new(),
            dir: None,
            env: Vec::new(),
            input: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            stoppable: true,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().into());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    /// Runs the program in `dir`.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Gives the program something to read.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Sets how long the program may run.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Lets the program run even after Ctrl-C: for cleaning up.
    pub fn even_if_interrupted(mut self) -> Self {
        self.stoppable = false;
        self
    }

    /// Runs the program to its end, whatever its exit status is.
    pub fn output(self) -> Result<Output> {
        note(&self);
        let mut child = self
            .command()
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{self}`"))?;
        let feeder = feed(child.stdin.take(), self.input.clone());
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let waited = self.wait(&mut child);
        let _ = feeder.join(); // A program need not read all that it is offered.
        let output = Output {
            command: self.to_string(),
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
            status: child.wait()?,
        };
        match waited {
            Ok(()) => Ok(output),
            Err(error) => bail!("{error}{}", output.last_lines()),
        }
    }

    /// Runs the program, which must succeed; answers its standard output.
    pub fn run(self) -> Result<String> {
        self.output()?.success()
    }

    /// Runs the program, which must succeed, on our terminal and without a limit of time.
    pub fn show(self) -> Result<()> {
        note(&self);
        let status = self
            .command()
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot start `{self}`"))?;
        if !status.success() {
            bail!("`{self}` failed: {status}");
        }
        Ok(())
    }

    /// Starts the program, whose output goes to `log`, and does not wait for it.
    pub fn spawn(self, log: File) -> Result<Child> {
        note(&self);
        self.command()
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start `{self}`"))
    }

    /// The call as the standard library knows it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        // Network tools live in /usr/sbin, which is not on every user's path.
        if let Some(path) = std::env::var_os("PATH") {
            let mut path = path;
            path.push(":/usr/local/sbin:/usr/sbin:/sbin");
            command.env("PATH", path);
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    fn wait(&self, child: &mut Child) -> Result<()> {
        let begin = Instant::now();
        loop {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            let why = match () {
                () if self.stoppable && interrupted() => "was interrupted".to_owned(),
                () if begin.elapsed() > self.timeout => {
                    format!("did not end within {} s", self.timeout.as_secs_f32())
                }
                () => {
                    std::thread::sleep(POLL);
                    continue;
                }
            };
            kill_group(child, Signal::SIGKILL);
            bail!("`{self}` {why}");
        }
    }
}

impl Output {
    /// Standard output, if the program succeeded.
    pub fn success(self) -> Result<String> {
        if !self.status.success() {
            bail!("`{}` failed: {}{}", self.command, self.status, self.last_lines());
        }
        Ok(self.stdout)
    }

    fn last_lines(&self) -> String {
        let lines: Vec<&str> = self.stdout.lines().chain(self.stderr.lines()).collect();
        let from = lines.len().saturating_sub(ERROR_LINES);
        lines[from..].iter().map(|line| format!("\n    {line}")).collect()
    }
}

/// The command line as one would type it.
impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.program))?;
        for arg in &self.args {
            write!(f, " {}", quote(arg))?;
        }
        Ok(())
    }
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+[]".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Sends a signal to a program started by [`Cmd`] and to all its children.
pub fn kill_group(child: &Child, signal: Signal) {
    // It may have ended meanwhile; then there is nothing to kill.
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), signal);
}

/// Asks again and again until `probe` has an answer.
pub fn wait_until<T>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if interrupted() {
            bail!("interrupted while waiting for {what}");
        }
        if begin.elapsed() > timeout {
            bail!("{what}: not within {} s", timeout.as_secs_f32());
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// This program, by a path that holds even after cargo has replaced its file.
pub fn this_program() -> String {
    format!("/proc/{}/exe", std::process::id())
}

/// Finds a program as [`Cmd`] would.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn feed(pipe: Option<impl Write + Send + 'static>, input: Vec<u8>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        if let Some(mut pipe) = pipe {
            let _ = pipe.write_all(&input); // As above: nobody has to read it.
        }
    })
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes); // What came before an error is still shown.
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_come_back() {
        let output = Cmd::new("sh").args(["-c", "cat; echo oops >&2; exit 3"]).input("hello");
        let output = output.output().unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("hello", "oops\n"));
        assert_eq!(output.status.code(), Some(3));
        let error = output.success().unwrap_err().to_string();
        assert!(error.contains("exit 3") && error.contains("oops"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let cmd = Cmd::new("sh").args(["-c", "echo begun; sleep 1000 & sleep 1000"]);
        let error = cmd.timeout(Duration::from_millis(300)).run().unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("did not end") && error.contains("begun"), "{error}");
    }

    #[test]
    fn command_lines_can_be_pasted() {
        let cmd = Cmd::new("a").args(["b", "c d", "it's", ""]);
        assert_eq!(cmd.to_string(), r"a b 'c d' 'it'\''s' ''");
    }
}
