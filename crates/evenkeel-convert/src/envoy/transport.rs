//! `transport_socket`: TLS with clients and with endpoints, read and written.

use evenkeel_route::matching::HostMatch;
use serde_json::{Value, json};

use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::tls::{Certificate, ClientCertificate, ListenerTls, SYSTEM_ROOTS, UpstreamTls};

/// How clients speak TLS with a chain: all sockets but the plain one are taken for it, so nothing becomes open.
pub(super) fn of_chain(
    chain: &mut Table<'_>,
    hosts: &[HostMatch],
    conversion: &mut Conversion,
) -> Result<Option<ListenerTls>, ConvertError> {
    let Some(mut socket) = chain.table("transport_socket")? else { return Ok(None) };
    let Some(mut config) = encrypted(&mut socket)? else { return Ok(None) };
    let mut tls = ListenerTls::default();
    if let Some(mut config) = config.take() {
        let asks = config.boolean("require_client_certificate")?.unwrap_or(false);
        if let Some(common) = config.table("common_tls_context")? {
            let common = Common::read(common, conversion)?;
            tls.alpn = common.alpn;
            tls.client_ca_file = common.ca_file.filter(|_| asks);
            let hosts = || hosts.to_vec();
            tls.certificates = common
                .certificates
                .into_iter()
                .map(|(cert_file, key_file)| Certificate { hosts: hosts(), cert_file, key_file })
                .collect();
        }
        config.rest(&mut conversion.report, |_| "nothing here says this of TLS: your server does");
    }
    let path = socket.path("");
    if tls.certificates.is_empty() {
        let detail = "clients speak TLS, and no file of a certificate is named: write one, and its key";
        conversion.report.none(socket.place(), path, detail);
    } else {
        conversion.report.taken(socket.place(), path, "tls of the listener");
    }
    socket.rest(&mut conversion.report, |_| "nothing here says this of TLS: your server does");
    Ok(Some(tls))
}

/// How the endpoints of a cluster are spoken to.
pub(super) fn of_cluster(
    cluster: &mut Table<'_>,
    conversion: &mut Conversion,
) -> Result<Option<UpstreamTls>, ConvertError> {
    let Some(mut socket) = cluster.table("transport_socket")? else { return Ok(None) };
    let Some(mut config) = encrypted(&mut socket)? else { return Ok(None) };
    let mut tls = UpstreamTls { insecure: true, ..UpstreamTls::default() };
    if let Some(mut config) = config.take() {
        tls.server_name = config.text("sni")?.filter(|name| !name.is_empty()).map(str::to_owned);
        if let Some(common) = config.table("common_tls_context")? {
            let common = Common::read(common, conversion)?;
            (tls.alpn, tls.ca_file, tls.insecure) = (common.alpn, common.ca_file, !common.verifies);
            if common.certificates.len() > 1 {
                let detail = "we show one certificate: the first";
                conversion.report.none(socket.place(), socket.path("typed_config.tls_certificates"), detail);
            }
            let first = common.certificates.into_iter().next();
            tls.client = first.map(|(cert_file, key_file)| ClientCertificate { cert_file, key_file });
            if !tls.insecure && (common.name != tls.server_name) {
                let detail = "one name is asked for (SNI) and checked";
                conversion.report.differs(socket.place(), socket.path("typed_config.sni"), detail);
                tls.server_name = common.name.or(tls.server_name);
            }
        }
        config.rest(&mut conversion.report, |_| "nothing here says this of TLS: your client does");
    }
    conversion.report.taken(socket.place(), socket.path(""), "upstream_tls of the cluster");
    socket.rest(&mut conversion.report, |_| "nothing here says this of TLS: your client does");
    Ok(Some(tls))
}

/// The settings of a socket that encrypts; none of the plain one.
fn encrypted<'n>(socket: &mut Table<'n>) -> Result<Option<Option<Table<'n>>>, ConvertError> {
    let name = socket.text("name")?.unwrap_or("");
    if name == "raw_buffer" || name.ends_with(".raw_buffer") {
        return Ok(None);
    }
    socket.table("typed_config").map(Some)
}

/// What both sides say.
#[derive(Default)]
struct Common {
    certificates: Vec<(String, String)>,
    alpn: Vec<String>,
    verifies: bool,
    ca_file: Option<String>,
    /// Whom a certificate must be for.
    name: Option<String>,
}

impl Common {
    fn read(mut table: Table<'_>, conversion: &mut Conversion) -> Result<Self, ConvertError> {
        let mut common = Self::default();
        let field = table.path("alpn_protocols");
        for node in table.list("alpn_protocols")? {
            common.alpn.push(node.text(&field)?.to_owned());
        }
        let field = table.path("tls_certificates");
        for (number, node) in table.list("tls_certificates")?.iter().enumerate() {
            let mut certificate = Table::new(node, format!("{field}[{number}]"))?;
            let cert_file = file(&mut certificate, "certificate_chain", conversion)?;
            let key_file = file(&mut certificate, "private_key", conversion)?;
            match cert_file.zip(key_file) {
                Some(pair) => common.certificates.push(pair),
                None => conversion.report.none(
                    certificate.place(),
                    certificate.path(""),
                    "a certificate and its key are files: write what stands here into them",
                ),
            }
            certificate.rest(&mut conversion.report, |_| "a certificate and its key are files");
        }
        if let Some(mut trusted) = table.table("validation_context")? {
            common.ca_file = file(&mut trusted, "trusted_ca", conversion)?;
            let system = match trusted.table("system_root_certs")? {
                Some(system) => {
                    system.rest(&mut conversion.report, |_| "whom the system trusts has no settings");
                    true
                }
                None => false,
            };
            common.verifies = system || common.ca_file.is_some();
            let field = trusted.path("match_typed_subject_alt_names");
            for node in trusted.list("match_typed_subject_alt_names")? {
                let mut name = Table::new(node, &field)?;
                let kind = name.text("san_type")?.unwrap_or("");
                let exact = match name.table("matcher")? {
                    Some(mut matcher) => {
                        let exact = matcher.text("exact")?.map(str::to_owned);
                        matcher.rest(&mut conversion.report, |_| "names are checked word for word");
                        exact
                    }
                    None => None,
                };
                match exact.filter(|_| kind == "DNS" && common.name.is_none()) {
                    Some(exact) => common.name = Some(exact),
                    None => conversion.report.none(
                        name.place(),
                        name.path(""),
                        "one name of a server is checked, word for word",
                    ),
                }
            }
            trusted.rest(
                &mut conversion.report,
                |_| "certificates are checked by who signed them, and for a name",
            );
        }
        table.rest(&mut conversion.report, |_| "nothing here says this of TLS");
        Ok(common)
    }
}

/// The path in a `DataSource`.
fn file(
    table: &mut Table<'_>,
    field: &str,
    conversion: &mut Conversion,
) -> Result<Option<String>, ConvertError> {
    let Some(mut source) = table.table(field)? else { return Ok(None) };
    let found = source.text("filename")?.map(str::to_owned);
    source.rest(&mut conversion.report, |_| "what is trusted and shown stands in files: write it into one");
    Ok(found)
}

/// The socket of a listener that shows these certificates.
pub(super) fn downstream<'c>(tls: &ListenerTls, shown: impl Iterator<Item = &'c Certificate>) -> Value {
    let pairs = shown.map(|shown| pair(&shown.cert_file, &shown.key_file));
    let mut common = json!({ "tls_certificates": pairs.collect::<Vec<_>>() });
    if !tls.alpn.is_empty() {
        common["alpn_protocols"] = json!(tls.alpn);
    }
    if let Some(file) = &tls.client_ca_file {
        common["validation_context"] = json!({ "trusted_ca": { "filename": file } });
    }
    let mut config =
        json!({ "@type": format!("{TYPES}.DownstreamTlsContext"), "common_tls_context": common });
    if tls.client_ca_file.is_some() {
        config["require_client_certificate"] = json!(true);
    }
    json!({ "name": NAME, "typed_config": config })
}

/// The socket of a cluster.
pub(super) fn upstream(tls: &UpstreamTls) -> Value {
    let mut common = json!({});
    if !tls.alpn.is_empty() {
        common["alpn_protocols"] = json!(tls.alpn);
    }
    if let Some(client) = &tls.client {
        common["tls_certificates"] = json!([pair(&client.cert_file, &client.key_file)]);
    }
    if !tls.insecure {
        let file = tls.ca_file.as_deref().unwrap_or(SYSTEM_ROOTS);
        let mut trusted = json!({ "trusted_ca": { "filename": file } });
        if let Some(name) = &tls.server_name {
            trusted["match_typed_subject_alt_names"] =
                json!([{ "san_type": "DNS", "matcher": { "exact": name } }]);
        }
        common["validation_context"] = trusted;
    }
    let mut config = json!({ "@type": format!("{TYPES}.UpstreamTlsContext"), "common_tls_context": common });
    if let Some(name) = &tls.server_name {
        config["sni"] = json!(name);
    }
    json!({ "name": NAME, "typed_config": config })
}

fn pair(cert: &str, key: &str) -> Value {
    json!({ "certificate_chain": { "filename": cert }, "private_key": { "filename": key } })
}

/// The listener filter that finds the server name.
pub(super) fn inspector() -> Value {
    json!({
        "name": INSPECTOR,
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector" },
    })
}

const NAME: &str = "envoy.transport_sockets.tls";
const TYPES: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
/// The name of the listener filter.
pub(super) const INSPECTOR: &str = "envoy.filters.listener.tls_inspector";
