// OHIF's settings for a viewer that another server hosts. Put it beside OHIF's index.html, with the address of the
// DICOMweb service in the first line. The gateway must name the viewer's origin in `allowed_origins` of its `cors`
// middleware: see docs/howto/viewers.rst. The gateway's own `viewer` endpoint needs none of this.
const service = 'https://gateway.hospital.local/dicom';

window.config = {
  routerBasename: '/',
  extensions: [],
  modes: [],
  customizationService: {},
  showStudyList: true,
  maxNumberOfWebWorkers: 3,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  showLoadingIndicator: true,
  strictZSpacingForVolumeViewport: true,
  groupEnabledModesFirst: true,
  maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
  defaultDataSourceName: 'harmonygw',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'harmonygw',
      configuration: {
        friendlyName: 'harmonygw',
        name: 'harmonygw',
        qidoRoot: service,
        wadoRoot: service,
        wadoUriRoot: service,
        qidoSupportsIncludeField: true,
        supportsFuzzyMatching: true,
        supportsWildcard: true,
        supportsReject: false,
        imageRendering: 'wadors',
        thumbnailRendering: 'thumbnail',
        thumbnailRequestStrategy: 'fetch',
        enableStudyLazyLoad: true,
        omitQuotationForMultipartRequest: true,
        singlepart: 'bulkdata,video',
        bulkDataURI: { enabled: true },
      },
    },
  ],
};
