use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::ProbeConfigError;
use crate::limits;

/// Runs a program: exit code 0 passes, any other counts towards `fall`, as HAProxy's `external-check` does.
///
/// No shell is involved. The program gets `EVENKEEL_ADDRESS`, and `EVENKEEL_HOST` and `EVENKEEL_PORT` unless the endpoint
/// is a Unix socket (then `EVENKEEL_PATH`), nothing to read, and a process group of its own. When it ends, and when its
/// time is up, the whole group is killed, with whatever it has forked; only a process that starts a session or group of its
/// own escapes. It is always reaped. On Unix only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct CommandProbe {
    /// The program: a path, or a name that is looked up in `PATH`. It has no default.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables that are set for it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "BTreeMap::is_empty"))]
    pub env: BTreeMap<String, String>,
    /// Whether it gets the variables of this process too. Default `false`: they often hold secrets. `PATH` is passed on
    /// all the same, unless `env` sets it.
    pub inherit_env: bool,
    /// Where it runs. Default: where this process runs.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub directory: Option<PathBuf>,
    /// The longest that it may take, 1 ms to 1 h. Default 5 s: starting a program takes longer than a connection.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub timeout: Duration,
    /// How much of what it writes is kept for the report, 0 to 64 KiB. Default 1 KiB, of which the report shows 200 bytes.
    /// A program that writes more than 1 MiB is not read any further: it blocks until its time is up.
    pub max_output: usize,
}

impl Default for CommandProbe {
    fn default() -> Self {
        Self {
            program: PathBuf::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            inherit_env: false,
            directory: None,
            timeout: Duration::from_secs(5),
            max_output: 1_024,
        }
    }
}

impl CommandProbe {
    /// A check by this program.
    pub fn new<A: Into<String>>(program: impl Into<PathBuf>, args: impl IntoIterator<Item = A>) -> Self {
        Self { program: program.into(), args: args.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    pub(crate) fn validate(&self) -> Result<(), ProbeConfigError> {
        limits::check_timeout("command.timeout", self.timeout)?;
        let program = self.program.to_string_lossy();
        if program.is_empty() || program.contains('\0') {
            return Err(ProbeConfigError::setting(
                "command.program",
                program,
                "the path or name of a program",
            ));
        }
        if self.max_output > 64 * 1_024 {
            let allowed = "allowed are 0 to 65536 bytes";
            return Err(ProbeConfigError::setting("command.max_output", self.max_output, allowed));
        }
        if let Some(bad) = self.args.iter().find(|text| text.contains('\0')) {
            return Err(ProbeConfigError::setting("command.args", bad, "text without a zero byte"));
        }
        let is_bad =
            |name: &str, value: &str| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
        match self.env.iter().find(|(name, value)| is_bad(name, value)) {
            Some((name, _)) => Err(ProbeConfigError::setting(
                "command.env",
                name,
                "names without '=', text without a zero byte",
            )),
            None => Ok(()),
        }
    }
}

#[cfg(not(all(feature = "command", unix)))]
impl CommandProbe {
    pub(crate) fn refuse(&self) -> ProbeConfigError {
        self.validate().err().unwrap_or(ProbeConfigError::FeatureOff {
            field: "command",
            feature: "command",
            unix: true,
        })
    }
}

#[cfg(all(feature = "command", unix))]
pub(crate) use run::Starting;

#[cfg(all(feature = "command", unix))]
mod run {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::time::Duration;

    use evenkeel_types::Address;
    use rustix::io::Errno;
    use tokio::io::AsyncReadExt;
    use tokio::net::unix::pipe::Receiver;
    use tokio::time::timeout;

    use super::CommandProbe;
    use crate::answer::Answer;
    use crate::excerpt::Excerpt;
    use crate::probe::Context;
    use crate::reaper::{Group, Reaper};
    use crate::reason::{Reason, is_shortage};
    use crate::starter::Starter;

    impl CommandProbe {
        pub(crate) async fn run(&self, context: &Context<'_>) -> Result<Answer, Reason> {
            let Starting { starter, reaper } = context.starting;
            let (mut command, reaper) = (self.command(context.address), Arc::clone(reaper));
            let start = move || Group::spawn(&mut command, reaper);
            let mut group = starter.start(start, context.progress).await?.map_err(|error| {
                let text = Excerpt::of(format!("{}: {error}", self.program.display()));
                let ours = is_shortage(&error) || error.kind() == io::ErrorKind::WouldBlock;
                if ours { Reason::Local(text) } else { Reason::Spawn(text) }
            })?;
            let mut output = Output::new(self.max_output);
            let (out, err) = group.pipes();
            let (mut out, mut err) = (receiver(out)?, receiver(err)?);
            tokio::select! {
                ended = group.ended() => ended.map_err(|error| of_wait(&error))?,
                () = output.fill(&mut out, &mut err) => group.ended().await.map_err(|error| of_wait(&error))?,
            }
            // What it has forked goes with it, before its number can be given to another process.
            let status = group.finish().map_err(|error| of_wait(&error))?;
            // What it wrote last. Nobody holds the pipes any more, unless somebody has escaped.
            let _ = timeout(LAST_WORDS, output.fill(&mut out, &mut err)).await;
            let output = Excerpt::of(&output.kept);
            match (status.code(), status.signal()) {
                (Some(0), _) => Ok(Answer::pass()),
                (Some(code), _) => Err(Reason::Exit { code, output }),
                (None, signal) => Err(Reason::Signal { signal: signal.unwrap_or(0), output }),
            }
        }

        fn command(&self, address: &Address) -> Command {
            let mut command = Command::new(&self.program);
            command.args(&self.args).process_group(0);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            if !self.inherit_env {
                let path = std::env::var_os("PATH");
                command.env_clear().envs(path.map(|path| ("PATH", path)));
            }
            command.env("EVENKEEL_ADDRESS", address.to_string());
            match address {
                Address::Socket(address) => {
                    command.env("EVENKEEL_HOST", address.ip().to_string());
                }
                Address::Host(name, _) => {
                    command.env("EVENKEEL_HOST", name.as_str());
                }
                Address::Unix(path) => {
                    command.env("EVENKEEL_PATH", &**path);
                }
                _ => {}
            }
            command.envs(address.port().map(|port| ("EVENKEEL_PORT", port.to_string())));
            command.envs(&self.env);
            if let Some(directory) = &self.directory {
                command.current_dir(directory);
            }
            command
        }
    }

    /// What all commands of a prober share.
    #[derive(Debug)]
    pub(crate) struct Starting {
        pub(crate) starter: Starter,
        pub(crate) reaper: Arc<Reaper>,
    }

    impl Default for Starting {
        fn default() -> Self {
            Self { starter: Starter::new(), reaper: Arc::default() }
        }
    }

    /// A program whose end cannot be seen says nothing about the endpoint.
    fn of_wait(error: &io::Error) -> Reason {
        if error.raw_os_error() == Some(Errno::CHILD.raw_os_error()) {
            Reason::Local(Excerpt::of(
                "no exit code: this process ignores SIGCHLD, or somebody else waits for its children",
            ))
        } else {
            Reason::of_io(error)
        }
    }

    fn receiver(pipe: Option<OwnedFd>) -> Result<Receiver, Reason> {
        let pipe = pipe.ok_or(Reason::Internal)?;
        Receiver::from_owned_fd(pipe).map_err(|error| Reason::of_io(&error))
    }

    /// What a program wrote: the beginning is kept, the rest thrown away, so that it does not block on a full pipe.
    struct Output {
        kept: Vec<u8>,
        most: usize,
        read: usize,
    }

    impl Output {
        fn new(most: usize) -> Self {
            Self { kept: Vec::new(), most, read: 0 }
        }

        /// Reads both pipes to their end, or as much as is read at all.
        async fn fill(&mut self, out: &mut Receiver, err: &mut Receiver) {
            let (mut first, mut second) = ([0; 1_024], [0; 1_024]);
            let (mut out_open, mut err_open) = (true, true);
            while (out_open || err_open) && self.read < MOST_READ {
                tokio::select! {
                    read = out.read(&mut first), if out_open => out_open = self.take(&first, read),
                    read = err.read(&mut second), if err_open => err_open = self.take(&second, read),
                }
            }
        }

        /// Whether there may be more.
        fn take(&mut self, piece: &[u8], read: io::Result<usize>) -> bool {
            let length = read.unwrap_or(0);
            self.keep(&piece[..length]);
            length > 0
        }

        fn keep(&mut self, piece: &[u8]) {
            self.read = self.read.saturating_add(piece.len());
            let fits = piece.len().min(self.most - self.kept.len());
            self.kept.extend_from_slice(&piece[..fits]);
        }
    }

    /// How long the last words of a program are waited for, if the pipes stay open after its end.
    const LAST_WORDS: Duration = Duration::from_millis(50);

    /// More than any check has to say, and little enough to read in a moment.
    const MOST_READ: usize = 1 << 20;
}
