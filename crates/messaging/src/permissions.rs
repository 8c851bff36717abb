//! The permissions of each service's broker user, as RabbitMQ's three regular expressions.
//!
//! A direct exchange has no permissions per routing key. Each service therefore publishes new messages to its own
//! exchange, which is bound only to the queues that it may write. The consumers share the retry and dead-letter
//! exchanges; a message that one of them places on another's queue this way fails seal verification.

use crate::names::{DEAD_EXCHANGE, RETRY_STEPS, Service, retry_exchange};

/// Arguments of `rabbitmqctl set_permissions` for one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    pub configure: String,
    pub write: String,
    pub read: String,
}

impl Service {
    /// The minimum that the service's user needs. `^$` means no permission.
    pub fn permissions(self) -> Permissions {
        match self {
            Self::Ops => {
                let all = r"^(fiatrails|mint|mpesa|delay|dead)\..*$".to_owned();
                Permissions {
                    configure: all.clone(),
                    write: all.clone(),
                    read: all,
                }
            }
            Self::Gateway => Permissions {
                configure: "^$".into(),
                write: any_of([self.ingress().to_owned()]),
                read: "^$".into(),
            },
            Self::MintExecutor | Self::Callback => {
                let retries = (1..=RETRY_STEPS).map(retry_exchange);
                let own = [self.ingress().to_owned(), DEAD_EXCHANGE.to_owned()];
                Permissions {
                    configure: "^$".into(),
                    write: any_of(own.into_iter().chain(retries)),
                    read: any_of(self.reads().iter().map(|q| q.name().to_owned())),
                }
            }
        }
    }
}

fn any_of(names: impl IntoIterator<Item = String>) -> String {
    let escaped: Vec<_> = names.into_iter().map(|name| name.replace('.', r"\.")).collect();
    format!("^({})$", escaped.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{WORK_EXCHANGE, WorkQueue};

    #[test]
    fn nobody_but_the_operator_may_configure_or_use_the_work_exchange() {
        for service in [Service::Gateway, Service::MintExecutor, Service::Callback] {
            let p = service.permissions();
            assert_eq!(p.configure, "^$");
            assert!(
                !p.write.contains(&WORK_EXCHANGE.replace('.', r"\.")),
                "{}",
                p.write
            );
        }
    }

    #[test]
    fn the_gateway_reads_nothing_and_writes_to_its_own_exchange() {
        let p = Service::Gateway.permissions();
        assert_eq!(
            (p.write.as_str(), p.read.as_str()),
            (r"^(fiatrails\.in\.gateway)$", "^$")
        );
    }

    #[test]
    fn every_queue_has_exactly_one_consuming_and_one_writing_service() {
        let count = |f: fn(Service) -> &'static [WorkQueue], q| {
            Service::ALL
                .into_iter()
                .filter(|s| *s != Service::Ops && f(*s).contains(&q))
                .count()
        };
        for queue in WorkQueue::ALL {
            assert_eq!(
                (count(Service::reads, queue), count(Service::writes, queue)),
                (1, 1),
                "{queue}"
            );
        }
    }
}
