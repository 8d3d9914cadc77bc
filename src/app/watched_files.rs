//! The files that are looked at, and read again when they change.

use std::path::PathBuf;

use crate::config::Loaded;
use crate::pki::pem;

/// Every file that a configuration names and that can be read again while the process runs.
pub(super) fn watched_files(loaded: &Loaded) -> Vec<PathBuf> {
    let settings = &loaded.settings;
    let hosts = settings.listener.iter().flat_map(|listener| &listener.host);
    let own = hosts.flat_map(|host| [&host.certificate_file, &host.key_file]);
    let sets = settings.anchor_set.values().flat_map(|set| set.files.iter().chain(&set.intermediate_files));
    let lists = settings.anchor_set.values().flat_map(|set| &set.crl_files).map(|named| loaded.resolve(named));
    // A folder that cannot be looked into counts as the one file that it is: reading it will say what is wrong.
    let lists = lists.flat_map(|named| pem::files_of(&named).unwrap_or_else(|_| vec![named]));
    own.chain(sets).chain(outbound(loaded)).map(|file| loaded.resolve(file)).chain(lists).collect()
}

/// Those of connections that this process opens.
fn outbound(loaded: &Loaded) -> impl Iterator<Item = &PathBuf> {
    let settings = &loaded.settings;
    let servers = settings.authorization_server.values();
    let servers = servers.flat_map(|server| [&server.ca_file, &server.certificate_file, &server.key_file]);
    let providers = settings.identity_provider.iter();
    let providers =
        providers.flat_map(|provider| [provider.authorities(), provider.certificate_file.as_ref(), provider.key_file.as_ref()]);
    let routes = settings.route.iter();
    let routes = routes.flat_map(|route| [&route.upstream_ca_file, &route.upstream_certificate_file, &route.upstream_key_file]);
    let tcp = settings.tcp_route.iter();
    let tcp = tcp.flat_map(|route| [&route.upstream_ca_file, &route.upstream_certificate_file, &route.upstream_key_file]);
    let files = servers.chain(routes).chain(tcp).filter_map(Option::as_ref).chain(providers.flatten());
    settings.outbound.ca_files.iter().chain(files)
}
