//! A session belongs to one policy and one epoch: TLS 1.2 by id and by ticket, TLS 1.3 by ticket.

use rustls::client::{ClientSessionMemoryCache, Resumption, Tls12Resumption};

use super::*;

/// How a client resumes.
fn resumption(versions: &'static [&'static SupportedProtocolVersion], kind: Tls12Resumption) -> (Resumption, &'static str) {
    let name = if versions[0].version == ProtocolVersion::TLSv1_3 {
        "1.3 ticket"
    } else if kind == Tls12Resumption::SessionIdOnly {
        "1.2 id"
    } else {
        "1.2 ticket"
    };
    (Resumption::store(Arc::new(ClientSessionMemoryCache::new(32))).tls12_resumption(kind), name)
}

fn resuming(listener: &Listener, alice: &Identity) -> Vec<(Arc<ClientConfig>, &'static str)> {
    let kinds = [
        (TLS13, Tls12Resumption::SessionIdOrTickets),
        (TLS12, Tls12Resumption::SessionIdOrTickets),
        (TLS12, Tls12Resumption::SessionIdOnly),
    ];
    let configure = |(versions, kind)| {
        let (resumption, name) = resumption(versions, kind);
        let mut config = (*client(listener, versions, shows(alice))).clone();
        config.resumption = resumption;
        (Arc::new(config), name)
    };
    kinds.into_iter().map(configure).collect()
}

#[tokio::test]
async fn a_session_resumes_with_its_certificate_until_the_reload() {
    let listener = Listener::requesting();
    let alice = Authority::new("Client CA").client("alice");
    for (client, name) in resuming(&listener, &alice) {
        let epoch = listener.policies.load().policies()[0].epoch();
        let mut resumed = Vec::new();
        for _ in 0..2 {
            let (facts, answer) = listener.connect(&client, "localhost").await;
            answer.expect("served");
            let facts = facts.expect("accepted");
            assert_eq!(thumbprint(&facts), Some(alice.certificate.thumbprint()), "{name}");
            resumed.push(facts.resumed);
        }
        assert_eq!(resumed, [false, true], "{name}");
        // Changed anchors: the same name, the same certificate authority, another epoch.
        let hints = crate::pki::path::Anchors::new([Authority::new("New CA").certificate]).expect("anchors").subjects();
        let next = host(&listener.server_ca, "localhost", ClientCertificateMode::Request, hints, epoch + 1);
        listener.policies.store(Arc::new(PolicySet::new([next]).expect("a set")));
        let (facts, _) = listener.connect(&client, "localhost").await;
        let facts = facts.expect("accepted");
        assert_eq!((facts.resumed, facts.policy.epoch()), (false, epoch + 1), "{name}");
    }
}

/// Hands every server the sessions of one.
#[derive(Debug)]
struct OneStore(ClientSessionMemoryCache);

impl rustls::client::ClientSessionStore for OneStore {
    fn set_kx_hint(&self, _: ServerName<'static>, group: rustls::NamedGroup) {
        self.0.set_kx_hint(name(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.0.kx_hint(&name())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: rustls::client::Tls12ClientSessionValue) {
        self.0.set_tls12_session(name(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.0.tls12_session(&name())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&name());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: rustls::client::Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(name(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&name())
    }
}

fn name() -> ServerName<'static> {
    ServerName::try_from("any.example").expect("a name")
}

#[tokio::test]
async fn a_session_of_one_policy_does_not_resume_into_another() {
    use ClientCertificateMode::Request;
    let alice = Authority::new("Client CA").client("alice");
    let listener = Listener::new(&[("one", Request), ("two", Request)], AcceptLimits::default());
    // The same name on another listener: nothing but keys and storage can tell the sessions apart.
    let twin = host(&listener.server_ca, "one", Request, vec![], 1);
    let twin_set = Arc::new(ArcSwap::from_pointee(PolicySet::new([twin]).expect("a set")));
    let other = Listener {
        server_ca: Authority::new("unused"),
        acceptor: Acceptor::new(Arc::clone(&twin_set), AcceptLimits::default()),
        policies: twin_set,
    };
    for (config, kind) in resuming(&listener, &alice) {
        let tls12 = if kind == "1.2 id" { Tls12Resumption::SessionIdOnly } else { Tls12Resumption::SessionIdOrTickets };
        let with_one_store = || {
            let mut config = (*config).clone();
            let store = Arc::new(OneStore(ClientSessionMemoryCache::new(32)));
            config.resumption = Resumption::store(store).tls12_resumption(tls12);
            Arc::new(config)
        };
        for (into, name, expected) in [(&listener, "one", true), (&listener, "two", false), (&other, "one", false)] {
            let client = with_one_store();
            let (facts, _) = listener.connect(&client, "one").await;
            assert!(!facts.expect("accepted").resumed, "{kind}");
            let (facts, answer) = into.connect(&client, name).await;
            answer.expect("served");
            assert_eq!(facts.expect("accepted").resumed, expected, "{kind} into {name}");
        }
    }
}
