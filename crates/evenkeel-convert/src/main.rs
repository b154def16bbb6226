//! `evenkeel-convert --from nginx --to evenkeel nginx.conf`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use evenkeel_convert::{Dialect, Options, Verdict, read_file, write};

/// Reads load-balancing configuration of nginx, HAProxy or Envoy and writes it as evenkeel's, or the other way round.
///
/// The configuration goes to standard output, the report to standard error or to a file. Exit codes: 0 everything was
/// taken (some of it may differ: see the report), 1 nothing was written because of an error, 2 something has no equivalent.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Whose configuration is read.
    #[arg(long, value_parser = parse_dialect)]
    from: Dialect,
    /// Whose configuration is written.
    #[arg(long, value_parser = parse_dialect, default_value = "evenkeel")]
    to: Dialect,
    /// How the report is written.
    #[arg(long, value_enum, default_value = "text")]
    report: Format,
    /// Where the report goes, instead of to standard error.
    #[arg(long)]
    report_file: Option<PathBuf>,
    /// The folder that includes must stay in, instead of that of FILE.
    #[arg(long)]
    root: Option<PathBuf>,
    /// A file with the secret that signs cookies, for `cookie … insert` and the like.
    #[arg(long)]
    cookie_secret_file: Option<PathBuf>,
    /// The configuration.
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// One line each, and a sum.
    Text,
    /// A list of findings.
    Json,
    /// Only what differs or has no equivalent, as text.
    Short,
    /// No report.
    None,
}

fn parse_dialect(name: &str) -> Result<Dialect, String> {
    name.parse().map_err(|error: evenkeel_convert::UnknownDialect| error.to_string())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(Verdict::NoEquivalent) => ExitCode::from(2),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evenkeel-convert: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Verdict, Box<dyn std::error::Error>> {
    let mut options = Options { root: arguments.root.clone(), ..Options::default() };
    if let Some(path) = &arguments.cookie_secret_file {
        let secret = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        options.cookie_secret = Some(secret.trim_end().to_owned());
    }
    let conversion = read_file(arguments.from, &arguments.file, &options)?;
    let written = write(arguments.to, &conversion.setup);
    let mut report = conversion.report;
    report.findings.extend(written.report.findings);
    std::io::stdout().write_all(written.text.as_bytes())?;
    let text = match arguments.report {
        Format::Text => format!("{report}\n"),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
        Format::Short => {
            let findings = report.findings.iter().filter(|finding| finding.verdict != Verdict::Taken);
            let lines: String = findings.map(|finding| format!("{finding}\n")).collect();
            format!("{lines}{}\n", report.summary())
        }
        Format::None => String::new(),
    };
    match &arguments.report_file {
        Some(path) => std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?,
        None => std::io::stderr().write_all(text.as_bytes())?,
    }
    Ok(report.worst())
}
