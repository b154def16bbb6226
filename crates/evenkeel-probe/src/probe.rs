use std::sync::Arc;
use std::time::Duration;

use evenkeel_types::Address;
use tokio::time::{Instant, timeout_at};

use crate::agent::AgentProbe;
use crate::answer::Answer;
use crate::command::CommandProbe;
use crate::connect::Progress;
use crate::error::ProbeConfigError;
use crate::grpc::GrpcProbe;
use crate::http::HttpProbe;
use crate::lookup::{Lookup, Resolver};
use crate::reason::Reason;
use crate::tcp::TcpProbe;

/// What is done to find out how an endpoint is.
///
/// ```
/// # #[cfg(feature = "serde")] {
/// use evenkeel_probe::ProbeConfig;
/// let text = r#"
///     [http]
///     path = "/health"
///     expected = "200-299, 404"
///     retriable = 503
///     timeout = "500ms"
/// "#;
/// let probe: ProbeConfig = toml::from_str(text)?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ProbeConfig {
    /// Connects, and perhaps sends and expects something.
    Tcp(TcpProbe),
    /// Asks for a page.
    Http(HttpProbe),
    /// Asks the gRPC health service.
    Grpc(GrpcProbe),
    /// Runs a program.
    Command(CommandProbe),
    /// Asks an agent.
    Agent(AgentProbe),
}

impl ProbeConfig {
    /// Whether the settings can stand; [`Prober::add`](crate::Prober::add) asks. Certificates are read. Without an address, that
    /// of `localhost` stands for it: it matters for the name in a certificate alone.
    ///
    /// # Errors
    ///
    /// [`ProbeConfigError`] with the field.
    pub fn validate(&self, address: Option<&Address>) -> Result<(), ProbeConfigError> {
        let somewhere = Address::Socket(([127, 0, 0, 1], 1).into());
        Prepared::new(self, address.unwrap_or(&somewhere)).map(drop)
    }
}

impl From<TcpProbe> for ProbeConfig {
    fn from(probe: TcpProbe) -> Self {
        Self::Tcp(probe)
    }
}

impl From<HttpProbe> for ProbeConfig {
    fn from(probe: HttpProbe) -> Self {
        Self::Http(probe)
    }
}

impl From<GrpcProbe> for ProbeConfig {
    fn from(probe: GrpcProbe) -> Self {
        Self::Grpc(probe)
    }
}

impl From<CommandProbe> for ProbeConfig {
    fn from(probe: CommandProbe) -> Self {
        Self::Command(probe)
    }
}

impl From<AgentProbe> for ProbeConfig {
    fn from(probe: AgentProbe) -> Self {
        Self::Agent(probe)
    }
}

/// What checks of one prober share, and what one of them is doing.
pub(crate) struct Context<'a> {
    pub(crate) address: &'a Address,
    pub(crate) resolver: &'a Resolver,
    pub(crate) lookup: &'a Lookup,
    pub(crate) progress: &'a Progress,
    /// When the time of the check is over.
    pub(crate) ends: Instant,
    #[cfg(all(feature = "command", unix))]
    pub(crate) starting: &'a crate::command::Starting,
}

/// A probe whose settings were checked, ready to run against its address.
pub(crate) struct Prepared {
    pub(crate) address: Address,
    pub(crate) timeout: Duration,
    lookup: Lookup,
    kind: Kind,
}

enum Kind {
    Tcp(TcpProbe),
    Agent(AgentProbe),
    #[cfg(feature = "http")]
    Http(Box<crate::http::HttpCheck>),
    #[cfg(feature = "grpc")]
    Grpc(Box<crate::grpc::GrpcCheck>),
    #[cfg(all(feature = "command", unix))]
    Command(CommandProbe),
}

impl Prepared {
    pub(crate) fn new(config: &ProbeConfig, address: &Address) -> Result<Arc<Self>, ProbeConfigError> {
        let (kind, timeout) = match config {
            ProbeConfig::Tcp(tcp) => {
                tcp.validate()?;
                (Kind::Tcp(tcp.clone()), tcp.timeout)
            }
            ProbeConfig::Agent(agent) => {
                agent.validate()?;
                (Kind::Agent(agent.clone()), agent.timeout)
            }
            #[cfg(feature = "http")]
            ProbeConfig::Http(http) => {
                (Kind::Http(Box::new(crate::http::HttpCheck::new(http, address)?)), http.timeout)
            }
            #[cfg(not(feature = "http"))]
            ProbeConfig::Http(http) => return Err(http.refuse()),
            #[cfg(feature = "grpc")]
            ProbeConfig::Grpc(grpc) => {
                (Kind::Grpc(Box::new(crate::grpc::GrpcCheck::new(grpc, address)?)), grpc.timeout)
            }
            #[cfg(not(feature = "grpc"))]
            ProbeConfig::Grpc(grpc) => return Err(grpc.refuse()),
            #[cfg(all(feature = "command", unix))]
            ProbeConfig::Command(command) => {
                command.validate()?;
                (Kind::Command(command.clone()), command.timeout)
            }
            #[cfg(not(all(feature = "command", unix)))]
            ProbeConfig::Command(command) => return Err(command.refuse()),
        };
        Ok(Arc::new(Self { address: address.clone(), timeout, lookup: Lookup::default(), kind }))
    }

    /// Whether it starts a process, and not only a connection.
    pub(crate) fn is_command(&self) -> bool {
        #[cfg(all(feature = "command", unix))]
        if let Kind::Command(_) = self.kind {
            return true;
        }
        false
    }

    /// Runs the check, within its time. What it left open is closed when this is dropped.
    pub(crate) async fn run(
        &self,
        resolver: &Resolver,
        progress: &Progress,
        #[cfg(all(feature = "command", unix))] starting: &crate::command::Starting,
    ) -> Answer {
        // Timeouts are an hour at most.
        let ends = Instant::now() + self.timeout;
        let context = Context {
            address: &self.address,
            resolver,
            lookup: &self.lookup,
            progress,
            ends,
            #[cfg(all(feature = "command", unix))]
            starting,
        };
        let found = match timeout_at(ends, Box::pin(self.ask(&context))).await {
            Ok(found) => found,
            Err(_) => Err(progress.timed_out()),
        };
        match (&self.kind, found) {
            (_, Ok(answer)) => answer,
            // An agent that cannot be asked says nothing about the endpoint.
            (Kind::Agent(_), Err(reason)) => Answer::inconclusive(reason),
            (_, Err(reason)) => Answer::fail(reason),
        }
    }

    async fn ask(&self, context: &Context<'_>) -> Result<Answer, Reason> {
        match &self.kind {
            Kind::Tcp(tcp) => tcp.run(context).await,
            Kind::Agent(agent) => agent.run(context).await,
            #[cfg(feature = "http")]
            Kind::Http(http) => http.run(context).await,
            #[cfg(feature = "grpc")]
            Kind::Grpc(grpc) => grpc.run(context).await,
            #[cfg(all(feature = "command", unix))]
            Kind::Command(command) => command.run(context).await,
        }
    }
}
