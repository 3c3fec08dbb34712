# JupyterLab with chunkykit and its notebooks. In the folder of the repository:
#   docker build -t chunkykit .
#   docker run --rm -p 127.0.0.1:8888:8888 -v chunkykit-runs:/home/chunky/runs chunkykit
# The address with its token is printed. Any command of the program can take the place of JupyterLab:
#   docker run --rm chunkykit chunkykit run --profile smoke --no-notebooks --out runs/first
FROM python:3.12-slim-bookworm

ARG EXTRAS=models,notebooks,figures,minilm
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# the sources are mounted and not copied, so that no layer keeps them
RUN --mount=type=bind,target=/src,rw \
    pip install -c /src/constraints.txt "/src[${EXTRAS}]"

RUN useradd --create-home --uid 1000 chunky && install -d -o chunky /home/chunky/runs
USER 1000
WORKDIR /home/chunky
COPY --chown=chunky notebooks notebooks

EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", \
     "--LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb"]
