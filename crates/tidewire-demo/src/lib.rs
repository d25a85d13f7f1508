//! Workboard: the demo of Tidewire, and how an app is built on it. A small project-management tool with
//! a database of its own, served by `tidewire dev`.
//!
//! What it shows an app's author: the change and its events are written in one transaction, and a
//! drain publishes them (`outbox`); what others publish is heard with a cursor that is stored with
//! what came of it (`ears`); the words of an assistant are entries of a topic (`answering`).
//!
//! | Room | What lives there |
//! |---|---|
//! | `workboard` | the app, opened and running |
//! | `model` `day` `mention` `stats` `assistant` `features` | what it is about; pure |
//! | `store` `tasks` `seed` | the database, and what changes it |
//! | `outbox` `ears` `answering` | what goes to the log, and what comes from it |
//! | `gate` `api` `pages` | who is there, the API, the pages as they were built |
//! | `windows` `relay` | what hurts: cut connections, and a proxy that holds event streams back |
//! | `failure` | what can be wrong with a request |
//!
//! It is for one machine and its owner: there are no passwords. `tidewire serve` does not know it.

mod answering;
mod api;
mod assistant;
mod day;
mod ears;
mod failure;
mod features;
mod gate;
mod mention;
mod model;
mod outbox;
mod pages;
mod relay;
mod seed;
mod stats;
mod store;
mod tasks;
mod windows;
mod workboard;

pub use workboard::{App, OpenError, Workboard};
