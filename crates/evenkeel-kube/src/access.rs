use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::{Access, Bounds, Server};

/// Reads the files and gives what the client library needs. No network; commands of a kubeconfig run later.
pub(crate) async fn load(access: &Access, bounds: &Bounds) -> Result<kube::Config, String> {
    let mut config = match access {
        Access::Infer => kube::Config::infer().await.map_err(|error| chain(&error))?,
        Access::InCluster => kube::Config::incluster().map_err(|error| chain(&error))?,
        Access::Kubeconfig { path, context } => {
            let named = |error: &dyn std::error::Error| format!("{}: {}", path.display(), chain(error));
            let file = Kubeconfig::read_from(path).map_err(|error| named(&error))?;
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            kube::Config::from_custom_kubeconfig(file, &options).await.map_err(|error| named(&error))?
        }
        Access::Server(server) => of_server(server)?,
    };
    config.connect_timeout = Some(bounds.connect_timeout);
    // A net under the adapter's own bound, which is to be first, since it tells silence from a break.
    config.read_timeout = Some(bounds.silence().saturating_add(bounds.answer_timeout));
    config.write_timeout = Some(bounds.answer_timeout);
    // Failures are told, and waited out, by the adapter.
    config.default_retry = false;
    Ok(config)
}

fn of_server(server: &Server) -> Result<kube::Config, String> {
    let url: http::Uri = server.url.parse().map_err(|_| format!("server.url: {} is no URL", server.url))?;
    let mut config = kube::Config::new(url);
    if let Some(path) = &server.ca_file {
        config.root_cert =
            Some(certificates(path).map_err(|why| format!("server.ca_file: {}: {why}", path.display()))?);
    }
    let text = |field, path: &Option<std::path::PathBuf>| match path {
        None => Ok(None),
        Some(path) => {
            std::fs::metadata(path)
                .map_err(|error| format!("server.{field}: {}: {error}", path.display()))?;
            let text =
                path.to_str().ok_or_else(|| format!("server.{field}: {} is no UTF-8", path.display()))?;
            Ok::<_, String>(Some(text.to_owned()))
        }
    };
    config.auth_info.token_file = text("token_file", &server.token_file)?;
    config.auth_info.client_certificate = text("cert_file", &server.cert_file)?;
    config.auth_info.client_key = text("key_file", &server.key_file)?;
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?.collect();
    let found = found.map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("holds no certificate in PEM".to_owned());
    }
    Ok(found.into_iter().map(|certificate| certificate.to_vec()).collect())
}

/// The error with what caused it, as far as that is not said already.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
