"""The supervisor with small programs in place of the services and the edge; PostgreSQL and NATS are real.

Run by the tests as a program of its own, since a stack is a process with signals. FAKE_INVENTORY replaces the shell
script of one service.
"""

from __future__ import annotations

import os
import sys

from services.mesh import child, children, environment, run

STAYS = "touch ready-$NAME; trap 'rm -f ready-$NAME; exit 0' TERM; while :; do sleep 0.05; done"


def table(env: environment.Environment) -> children.Table:
    """Services that are ready once their file lies in the socket folder, and steps that note that they ran."""
    home = env.place.run

    def service(name: str, script: str) -> child.Child:
        async def ready() -> bool:
            return (home / f"ready-{name}").exists()

        told = env.of(name, name) | {"NAME": name}
        return child.Child(
            name=name, argv=["/bin/sh", "-c", script], env=told, log=env.place.log(name), cwd=home, ready=ready
        )

    def step(name: str, part: str) -> child.Step:
        script = f"echo ran >> '{env.place.state}/ran-{name}'"
        return child.Step(
            name=name, argv=["/bin/sh", "-c", script], env=env.of(part), log=env.place.log(name), cwd=home
        )

    return children.Table(
        services=[service("inventory", os.environ.get("FAKE_INVENTORY", STAYS)), service("orders", STAYS)],
        edge=service("edge", STAYS),
        migrations={name: step(f"migrate-{name}", name) for name in ("inventory", "orders")},
        demo_clients=step("demo-clients", "edge"),
        demo_data=step("demo-data", "edge"),
        with_door=False,
    )


if __name__ == "__main__":
    sys.exit(run.main(table))
