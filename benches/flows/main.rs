//! How many requests a second of processor time serves, beside the least that the same bytes on the wire cost.
//!
//! `cargo bench --bench flows` is a quick look; `cargo bench --bench flows -- --rounds 7 --seconds 3` is for figures to keep.
//! The method is told in docs/performance.md. Nothing here passes or fails by its speed: it fails when an answer is wrong.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod answer;
mod deployment;
mod floor;
mod growth;
mod load;
mod neighbours;
mod process;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;

use answer::{Expectation, PublicKey, token};
use deployment::Deployment;
use floor::Kind;
use growth::Size;
use load::{Counted, Group, Mode, Target};
use neighbours::Neighbour;
use process::{Core, Running};
use report::{Conditions, Report, Row};

/// Measure both flows beside their floors
#[derive(Debug, Parser)]
struct Options {
    /// How often each is measured; they take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each is measured in a round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Connections of the load generator
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Only what has this in its name, with its floors
    #[arg(long)]
    only: Option<String>,
    /// Write the report as JSON here too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also in a deployment of many clients, routes and revoked certificates, which takes minutes to make
    #[arg(long)]
    growth: bool,
    /// Install nginx and HAProxy from packages first, where they are missing
    #[arg(long)]
    install: bool,
    /// Measure this program instead of the one that cargo has built
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_symbolon"))]
    program: PathBuf,
    /// Only put this under load, for this many seconds, and print the pid to attach a profiler to
    #[arg(long, value_name = "NAME", requires = "seconds")]
    profile: Option<String>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// What this process is, when the bench has started it
    #[arg(long, hide = true)]
    role: Option<String>,
}

/// Something to measure, and what its figure is to be read beside.
struct Case {
    name: &'static str,
    mode: Mode,
    target: Target,
    pid: u32,
    floors: Vec<&'static str>,
}

/// What is measured, and the processes behind it, which end with this.
struct Cases {
    cases: Vec<Case>,
    floors: Running,
    neighbours: Vec<(Neighbour, neighbours::Started)>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    match options.role.as_deref() {
        Some("floor") => floor::run(),
        Some("upstream") => floor::upstream::run(),
        Some("load") => load::run(),
        Some(other) => bail!("no role {other}"),
        None => measure(&options),
    }
}

fn measure(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (_upstream, upstream): (_, floor::upstream::Ready) = Running::role("upstream", &(), Core::Load)?;
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("flows");
    let deployment = Deployment::start(&options.program, &dir, upstream.address, Size::default())?;
    if options.install {
        neighbours::install()?;
    }
    let mut all = runtime.block_on(cases(&deployment, &upstream))?;
    let mut grown = match options.growth {
        true => Some(Deployment::start(&options.program, &dir.with_extension("grown"), upstream.address, growth::LARGE)?),
        false => None,
    };
    if let Some(grown) = &grown {
        for case in runtime.block_on(cases(grown, &upstream))?.cases {
            let (name, small) = match case.name {
                "token, JWT" => ("token, JWT, grown", "token, JWT"),
                "token, opaque" => ("token, opaque, grown", "token, opaque"),
                "introspection" => ("introspection, grown", "introspection"),
                GATEWAY => ("gateway, JWT, grown", GATEWAY),
                _ => continue,
            };
            all.cases.push(Case { name, floors: vec![small], ..case });
        }
    }
    let cases = &all.cases;
    if let Some(name) = &options.profile {
        return profile(options, cases, name);
    }
    let wanted = |case: &Case| options.only.as_ref().is_none_or(|part| case.name.contains(part.as_str()));
    let mut names: Vec<&str> = Vec::new();
    for case in cases.iter().filter(|case| !case.floors.is_empty() && wanted(case)) {
        names.push(case.name);
        names.extend(&case.floors);
    }
    let chosen: Vec<&Case> = cases.iter().filter(|case| names.contains(&case.name)).collect();
    ensure!(!chosen.is_empty(), "nothing has that in its name");

    let mut counted: BTreeMap<&str, Vec<Counted>> = BTreeMap::new();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        // Forwards and backwards by turns, so that none is always after the same other.
        let order: Vec<&&Case> = if round % 2 == 0 { chosen.iter().collect() } else { chosen.iter().rev().collect() };
        for case in order {
            counted.entry(case.name).or_default().push(count(options, case)?);
        }
    }
    let mut rows = chosen.iter().map(|case| row(case, &counted)).collect::<anyhow::Result<Vec<_>>>()?;
    rows.extend(at_half_load(options, &chosen, &counted)?);
    let mut resident_mib = BTreeMap::new();
    let neighbours = all.neighbours.iter().map(|(neighbour, started)| (neighbour.name(), &started.process));
    let own = [("server", &deployment.server), ("gateway", &deployment.gateway), ("floors", &all.floors)];
    for (name, process) in own.into_iter().chain(neighbours) {
        resident_mib.insert(name, process::resident_mib(process.pid())?);
    }
    let [server, gateway] = deployment.at_rest_mib;
    resident_mib.extend([("server at rest", server), ("gateway at rest", gateway)]);
    if let Some(grown) = &grown {
        let [server, gateway] = grown.at_rest_mib;
        resident_mib.extend([("server at rest, grown", server), ("gateway at rest, grown", gateway)]);
    }
    let report = Report { conditions: conditions(options), rows, resident_mib };
    println!("{}", report.table());
    let json = serde_json::to_string_pretty(&report)?;
    std::fs::write(dir.with_extension("json"), &json)?;
    if let Some(file) = &options.json {
        std::fs::write(file, &json)?;
    }
    drop(deployment);
    if grown.take().is_some() {
        std::fs::remove_dir_all(dir.with_extension("grown"))?;
    }
    Ok(std::fs::remove_dir_all(&dir)?)
}

/// How long answers take when gateway and nginx are asked half as often as nginx can answer.
fn at_half_load(options: &Options, chosen: &[&Case], counted: &BTreeMap<&str, Vec<Counted>>) -> anyhow::Result<Vec<Row>> {
    let find = |name: &str| chosen.iter().find(|case| case.name == name);
    let (Some(gateway), Some(nginx), Some(full)) = (find(GATEWAY), find(NGINX), counted.get(NGINX)) else {
        return Ok(Vec::new());
    };
    let most = report::Spread::of(full.iter().map(|counted| counted.requests as f64 / counted.seconds)).median;
    let mode = Mode::Paced { per_second: (most / 2.0) as u32 };
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..options.rounds {
        for (case, rounds) in [gateway, nginx].into_iter().zip(&mut rounds) {
            rounds.push(count_in(options, case, mode)?);
        }
    }
    let [gateways, others] = rounds;
    let row = |case: &Case, counted: &[Counted]| Row::new(case.name, told(mode), counted);
    Ok(vec![row(gateway, &gateways).slowest_beside(NGINX, &gateways, &others), row(nginx, &others)])
}

fn orders(options: &Options, case: &Case, mode: Mode) -> load::Orders {
    load::Orders {
        target: case.target.clone(),
        connections: options.connections,
        mode,
        seconds: options.seconds,
        server_pid: case.pid,
    }
}

fn count(options: &Options, case: &Case) -> anyhow::Result<Counted> {
    count_in(options, case, case.mode)
}

fn count_in(options: &Options, case: &Case, mode: Mode) -> anyhow::Result<Counted> {
    let (_, counted) = Running::role("load", &orders(options, case, mode), Core::Load).with_context(|| case.name.to_owned())?;
    Ok(counted)
}

fn told(mode: Mode) -> String {
    match mode {
        Mode::KeptAlive => "kept alive".to_owned(),
        Mode::NewConnection => "new each time".to_owned(),
        Mode::Paced { per_second } => format!("kept alive, {per_second} a second"),
    }
}

fn profile(options: &Options, cases: &[Case], name: &str) -> anyhow::Result<()> {
    let case = cases.iter().find(|case| case.name == name).with_context(|| {
        let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
        format!("not one of: {}", names.join(", "))
    })?;
    eprintln!("pid {}", case.pid);
    let counted = count(options, case)?;
    println!("{:.0} requests per processor second", report::rate(&counted));
    Ok(())
}

fn row(case: &Case, counted: &BTreeMap<&str, Vec<Counted>>) -> anyhow::Result<Row> {
    let own = counted.get(case.name).context("counts")?;
    let mut row = Row::new(case.name, told(case.mode), own);
    for floor in &case.floors {
        let floors = counted.get(floor).context("a floor's counts")?;
        let same = own.iter().chain(floors).all(|counted| counted.tls == row.tls);
        ensure!(same, "{} and {floor} do not speak the same TLS: {} and {:?}", case.name, row.tls, floors.first());
        row = row.beside(floor, own, floors);
    }
    Ok(row)
}

fn conditions(options: &Options) -> Conditions {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).and_then(|line| line.split_once(": "));
    Conditions {
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        processor: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
        pinned: process::can_pin(),
        rounds: options.rounds,
        seconds: options.seconds,
        connections: options.connections,
        build: format!("symbolon {}", env!("CARGO_PKG_VERSION")),
    }
}

const GATEWAY: &str = "gateway, JWT";
const NGINX: &str = "nginx, unchecked";
const HAPROXY: &str = "HAProxy, checked";

/// Asks for everything once, to know how long answers are, then opens floors that answer as long.
async fn cases(deployment: &Deployment, upstream: &floor::upstream::Ready) -> anyhow::Result<Cases> {
    let (server, gateway) = (deployment.server.pid(), deployment.gateway.pid());
    let mtls = |who: &str, request: String| Target {
        address: deployment.mtls(),
        server_name: "127.0.0.1".into(),
        server_certificate: deployment.file("server.pem"),
        certificate: deployment.file(&format!("{who}.pem")),
        key: deployment.file(&format!("{who}-key.pem")),
        group: Group::Any,
        request,
        expectation: Expectation::Success,
    };
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let host = deployment.mtls().to_string();
    let ask = |resource: &str| {
        let resource = encoded(&deployment.resource(resource));
        post(&host, "/token", &format!("grant_type=client_credentials&client_id=alice&scope=read&resource={resource}"))
    };

    let mut jwt = mtls("alice", ask("jwt"));
    let answer = load::probe(&jwt).await?;
    let bearer = token(answer.body.as_bytes(), "{\"access_token\":\"eyJ", 3)?.to_owned();
    let (message, _) = bearer.rsplit_once('.').context("a JWT")?;
    let keys = load::probe(&mtls("alice", format!("GET /jwks HTTP/1.1\r\nhost: {host}\r\n\r\n"))).await?;
    let jwt_length = answer.length();
    let issuer_key = public_key(&keys.body)?;
    jwt.expectation = Expectation::Jwt { length: jwt_length, thumbprint: thumbprint(&jwt.certificate)?, key: issuer_key.clone() };

    let mut opaque = mtls("alice", ask("opaque"));
    let answer = load::probe(&opaque).await?;
    let sealed = token(answer.body.as_bytes(), "{\"access_token\":\"sy_at_", 6)?.to_owned();
    let opaque_length = answer.length();
    opaque.expectation = Expectation::Opaque { length: opaque_length };

    let mut introspection = mtls("gateway", post(&host, "/introspect", &format!("client_id=gateway&token={sealed}")));
    let answer = load::probe(&introspection).await?;
    ensure!(answer.body.contains("\"active\":true"), "{}", answer.body);
    let introspection_length = answer.length();
    introspection.expectation = Expectation::Exactly(answer.body);

    let gate = deployment.gateway_address();
    let pass = |path: &str| Target {
        address: gate,
        server_name: "localhost".into(),
        // The neighbours' OpenSSL may have nothing else, and all proxies are to do the same.
        group: Group::X25519,
        request: format!(
            "GET {path} HTTP/1.1\r\nhost: localhost:{}\r\nauthorization: Bearer {bearer}\r\naccept: */*\r\n\r\n",
            gate.port()
        ),
        expectation: Expectation::Exactly(upstream.body.clone()),
        ..mtls("alice", String::new())
    };
    let (through, signed) = (pass("/jwt"), pass("/signed"));
    // The gateway may still be fetching the issuer's keys.
    for _ in 0..100 {
        if load::probe(&through).await?.head.starts_with("HTTP/1.1 200 ") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    let issuer = deployment.issuer();
    let rules = neighbours::Rules { issuer: &issuer, audience: &deployment.resource("jwt"), key: &issuer_key };
    let mut neighbours = Vec::new();
    for neighbour in [Neighbour::Nginx, Neighbour::Haproxy] {
        neighbours.extend(neighbour.start(deployment, upstream.address, &rules)?.map(|started| (neighbour, started)));
    }

    let floors = floor::Orders {
        certificate: deployment.file("server.pem"),
        key: deployment.file("server-key.pem"),
        client_authorities: deployment.file("ca.pem"),
        floors: vec![
            Kind::Constant { answer: jwt_length },
            Kind::Signing { answer: jwt_length, payload: message.len() },
            Kind::Constant { answer: opaque_length },
            Kind::Constant { answer: introspection_length },
            Kind::Proxy { upstream: upstream.address },
        ],
    };
    let (floors, ready): (Running, floor::Ready) = Running::role("floor", &floors, Core::Measured)?;
    let [jwt_constant, jwt_signing, opaque_constant, introspection_constant, proxy] = ready.addresses[..] else {
        bail!("not as many floors as were ordered")
    };
    let key = ready.key;
    let at = |address, like: &Target, expectation| Target { address, expectation, ..like.clone() };
    let floor_pid = floors.pid();
    let case = |name, mode, target: &Target, pid, floors: &[&'static str]| Case {
        name,
        mode,
        target: target.clone(),
        pid,
        floors: floors.to_vec(),
    };
    let constant = at(jwt_constant, &jwt, Expectation::Length(jwt_length));
    let signing = at(jwt_signing, &jwt, Expectation::Signature { length: jwt_length, payload: message.len(), key });
    let opaque_constant = at(opaque_constant, &opaque, Expectation::Length(opaque_length));
    let introspection_constant = at(introspection_constant, &introspection, Expectation::Length(introspection_length));
    let proxy = at(proxy, &through, through.expectation.clone());
    use Mode::{KeptAlive, NewConnection};
    let mut cases = vec![
        case("token, JWT", KeptAlive, &jwt, server, &["signing floor", "constant floor"]),
        case("signing floor", KeptAlive, &signing, floor_pid, &[]),
        case("constant floor", KeptAlive, &constant, floor_pid, &[]),
        case("token, opaque", KeptAlive, &opaque, server, &["constant floor, opaque"]),
        case("constant floor, opaque", KeptAlive, &opaque_constant, floor_pid, &[]),
        case("introspection", KeptAlive, &introspection, server, &["constant floor, introspection"]),
        case("constant floor, introspection", KeptAlive, &introspection_constant, floor_pid, &[]),
        case(GATEWAY, KeptAlive, &through, gateway, &["bare proxy"]),
        case("gateway, JWT, an assertion each", KeptAlive, &signed, gateway, &["bare proxy"]),
        case("bare proxy", KeptAlive, &proxy, floor_pid, &[]),
        case("token, JWT, new", NewConnection, &jwt, server, &["signing floor, new"]),
        case("signing floor, new", NewConnection, &signing, floor_pid, &[]),
        case("gateway, JWT, new", NewConnection, &through, gateway, &["bare proxy, new"]),
        case("bare proxy, new", NewConnection, &proxy, floor_pid, &[]),
    ];
    for (neighbour, started) in &neighbours {
        let (pid, target) = (started.process.pid(), at(started.address, &through, through.expectation.clone()));
        let (kept, new) = match neighbour {
            Neighbour::Nginx => (NGINX, "nginx, unchecked, new"),
            Neighbour::Haproxy => (HAPROXY, "HAProxy, checked, new"),
        };
        for case in &mut cases {
            match case.name {
                "gateway, JWT" | "gateway, JWT, an assertion each" | "bare proxy" => case.floors.push(kept),
                "gateway, JWT, new" | "bare proxy, new" => case.floors.push(new),
                _ => {}
            }
        }
        cases.extend([case(kept, KeptAlive, &target, pid, &[]), case(new, NewConnection, &target, pid, &[])]);
    }
    for case in &cases {
        // The first answer of each, with the expectation that all the others will meet.
        let answer = load::probe(&case.target).await.with_context(|| case.name.to_owned())?;
        let mut checker = answer::Checker::new(&case.target.expectation)?;
        let answer = answer::Answer { head: answer.head.as_bytes(), body: answer.body.as_bytes() };
        checker.check(&answer).with_context(|| case.name.to_owned())?;
    }
    Ok(Cases { cases, floors, neighbours })
}

fn post(host: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-www-form-urlencoded\r\naccept: */*\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// `x5t#S256` (RFC 8705 §3.1).
fn thumbprint(file: &str) -> anyhow::Result<String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let certificate = CertificateDer::from_pem_file(file)?;
    Ok(URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate)))
}

fn public_key(keys: &str) -> anyhow::Result<PublicKey> {
    let keys: serde_json::Value = serde_json::from_str(keys)?;
    let coordinate = |name: &str| {
        let text = keys.pointer(&format!("/keys/0/{name}")).and_then(serde_json::Value::as_str).context("an EC key")?;
        anyhow::Ok(URL_SAFE_NO_PAD.decode(text)?)
    };
    Ok(PublicKey([vec![4], coordinate("x")?, coordinate("y")?].concat()))
}
