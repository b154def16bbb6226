use super::cluster::read_cluster;
use super::listener::read_listener;
use super::node::Node;
use super::routes::read_route_configuration;
use super::table::Table;
use super::yaml::parse;
use crate::conversion::{Conversion, Options};
use crate::dialect::Dialect;
use crate::error::{ConvertError, Problem};
use crate::files::{Files, Text};
use crate::place::Place;
use crate::report::Report;

/// Reads a bootstrap, a list of resources, a single cluster, or a single route configuration.
pub(crate) fn read(files: &mut Files, text: &Text, _: &Options) -> Result<Conversion, ConvertError> {
    if let Some(other) = Dialect::guess(&text.text).filter(|&guess| guess != Dialect::Envoy) {
        let problem = Problem::Dialect { looks_like: other, wanted: Dialect::Envoy };
        return Err(ConvertError::new(&Place::start(&text.name), problem));
    }
    let root = parse(files, text)?;
    let mut conversion = Conversion::default();
    document(&root, "", &mut conversion)?;
    conversion.setup.check(&Place::start(&text.name))?;
    Ok(conversion)
}

fn document(node: &Node, path: &str, conversion: &mut Conversion) -> Result<(), ConvertError> {
    let mut table = Table::new(node, path)?;
    let kind = table.text("@type")?.and_then(|kind| kind.rsplit('/').next()).unwrap_or("");
    if kind.ends_with("cluster.v3.Cluster")
        || table.get("load_assignment").is_some()
        || table.get("lb_policy").is_some()
    {
        return cluster(node, path, conversion);
    }
    if kind.ends_with("RouteConfiguration") || table.get("virtual_hosts").is_some() {
        return read_route_configuration(node, path, "routes", Vec::new(), None, conversion);
    }
    if kind.ends_with("listener.v3.Listener") || table.get("filter_chains").is_some() {
        return read_listener(node, path, conversion);
    }
    if let Some(mut resources) = table.table("static_resources")? {
        for (number, node) in resources.list("clusters")?.iter().enumerate() {
            cluster(node, &format!("clusters[{number}]"), conversion)?;
        }
        for (number, node) in resources.list("listeners")?.iter().enumerate() {
            read_listener(node, &format!("listeners[{number}]"), conversion)?;
        }
        resources.rest(&mut conversion.report, |_| "secrets are your server's");
    }
    for field in ["resources", "clusters"] {
        let name = table.path(field);
        for (number, node) in table.list(field)?.iter().enumerate() {
            let name = format!("{name}[{number}]");
            let mut inner = Table::new(node, &name)?;
            match inner.get("resource") {
                Some(node) => document(node, &name, conversion)?,
                None if field == "clusters" => cluster(node, &name, conversion)?,
                None => document(node, &name, conversion)?,
            }
        }
    }
    rest(table, &mut conversion.report);
    Ok(())
}

fn cluster(node: &Node, path: &str, conversion: &mut Conversion) -> Result<(), ConvertError> {
    read_cluster(node, if path.is_empty() { "cluster" } else { path }, conversion)
}

fn rest(table: Table<'_>, report: &mut Report) {
    table.rest(report, |field| match field {
        "admin" => "see Cluster::report and evenkeel-metrics",
        "dynamic_resources" => "clusters that come over xDS are followed by discovery",
        "layered_runtime" => "nothing is looked up at run time",
        "node" => "say where this process stands with the locality of the cluster",
        _ => "evenkeel has no such part",
    });
}
