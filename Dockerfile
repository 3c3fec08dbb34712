# JupyterLab with chunkykit and its notebooks. In the folder of the repository:
#   docker build -t chunkykit .
#   docker run --rm -p 127.0.0.1:8888:8888 -v chunkykit-runs:/home/chunky/runs chunkykit
# The address with its token is printed. A command of the program can take the place of JupyterLab:
#   docker run --rm chunkykit chunkykit run --profile smoke --no-notebooks --out runs/first

# with a compiler: one dependency, wordllama, has no wheel for Linux on ARM
FROM python:3.12-bookworm AS build
ARG EXTRAS=models,notebooks,figures,minilm
RUN python -m venv /opt/chunkykit
# the sources are mounted and not copied, so that no layer keeps them
RUN --mount=type=bind,target=/src,rw \
    /opt/chunkykit/bin/pip install --no-cache-dir -c /src/constraints.txt "/src[${EXTRAS}]"

FROM python:3.12-slim-bookworm
COPY --from=build /opt/chunkykit /opt/chunkykit
ENV PATH=/opt/chunkykit/bin:$PATH
RUN useradd --create-home --uid 1000 chunky && install -d -o chunky /home/chunky/runs
USER 1000
WORKDIR /home/chunky
COPY --chown=1000 notebooks notebooks
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", \
     "--LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb"]
