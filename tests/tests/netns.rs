//! The method `netns` by the real command: where a program's traffic goes, what passes the walls of
//! its namespaces, and what is left behind. Each as root and as a user without privilege.

#[path = "netns/scene.rs"]
mod scene;

#[path = "netns/life.rs"]
mod life;
#[path = "netns/reach.rs"]
mod reach;
#[path = "netns/walls.rs"]
mod walls;
