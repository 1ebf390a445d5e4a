# docker build -t sae-explorer .
# docker run --rm -p 8765:8765 -v sae-study:/study sae-explorer demo --host 0.0.0.0

FROM node:22-slim AS viewer
WORKDIR /viewer
COPY sae-viewer/package.json sae-viewer/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY sae-viewer/ ./
RUN npm run build

FROM python:3.12-slim AS wheel
WORKDIR /source
RUN pip install --no-cache-dir build==1.6.1
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE CHANGELOG.md CITATION.cff ./
COPY sae_pipeline sae_pipeline
COPY viz_analysis viz_analysis
COPY sae_explorer sae_explorer
COPY --from=viewer /viewer/dist sae-viewer/dist
RUN python -m build --wheel --outdir /wheel

FROM python:3.12-slim
# The compiler is for the kernels, which are compiled at their first use.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir torch==2.13.0
COPY --from=wheel /wheel /wheel
RUN pip install --no-cache-dir /wheel/*.whl \
    && useradd --create-home --uid 1000 explorer \
    && install --directory --owner explorer /study
USER 1000
WORKDIR /study
VOLUME /study
EXPOSE 8765
HEALTHCHECK --start-period=30s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://localhost:8765/api/health', timeout=5)"]
ENTRYPOINT ["sae-explorer"]
CMD ["serve", "--host", "0.0.0.0"]
