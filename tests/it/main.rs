//! Everything that is tested through the public interface, a file per subject.

#![allow(clippy::unwrap_used)]

mod amqp;
mod bad_input;
mod bench;
mod broker;
mod clients;
mod clients_scim;
mod command_line;
mod config;
mod connectors;
mod crm_target;
mod demo;
mod embedded_broker;
mod embedded_run;
mod embedded_store;
mod explain;
mod foreign_target;
mod guards;
mod habits;
mod house;
mod kills;
mod large;
mod links;
mod pipeline;
mod place;
mod plan;
mod preflight;
mod processes;
mod proxy;
mod rabbitmq;
mod redis_server;
mod redis_store;
mod rules;
mod salesscreen;
mod sandbox;
mod sandbox_crm;
mod sandbox_iadvize;
mod sandbox_initlive;
mod sandbox_salesscreen;
mod sandbox_scim;
mod schedules;
mod scope;
mod show;
mod store;
mod target_faults;
