"""`freesolo projects`: labels that group the runs and environments of an org."""

import click

from freesolo.cli.context import App, json_option, pass_app


@click.group()
def projects() -> None:
    """List and make projects."""


@projects.command(name="list")
@json_option("projects[] (id, slug, created_at)")
@pass_app
def list_projects(app: App) -> None:
    """List the projects of the org."""
    found = app.hub.projects()
    app.out.document({"projects": [project.model_dump(mode="json") for project in found]})
    app.out.table(
        ("project", "id", "created"),
        [(project.slug, project.id, f"{project.created_at:%Y-%m-%d}") for project in found],
    )


@projects.command()
@click.argument("slug")
@json_option("id, slug, created_at")
@pass_app
def create(app: App, slug: str) -> None:
    """Make the project SLUG; one that exists is shown."""
    project = app.hub.create_project(slug)
    app.out.document(project.model_dump(mode="json"))
    app.out.data(f"{project.slug} {project.id}")
    app.out.next_step(f'freesolo train CONFIG --set project="{project.id}"')
